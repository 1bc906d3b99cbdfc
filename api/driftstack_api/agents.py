"""The facade's side of the agents: addresses, tokens, and their refusals as problems."""

from __future__ import annotations

import asyncio

from driftstack_api.devtools.dial import dial
from driftstack_api.mounted_keys import MountedKeys
from driftstack_api.problems import Issue, Problem, invalid, unavailable
from driftstack_common.agent_client import (
    AgentClient,
    AgentError,
    AgentProblem,
    AgentTimeout,
    AgentUnreachable,
    Captured,
)
from driftstack_common.kinds import Browser, Session, StepCounts
from driftstack_common.logging import get_logger
from driftstack_common.protocol import Capture, EndReason, Navigate, Navigated, ProblemCode
from driftstack_common.protocol_steps import (
    Extract,
    Extracted,
    Interact,
    Interacted,
    PageState,
    State,
    Wait,
    Waited,
)

NO_ROUTE_HINT = (
    "The name could not be resolved: check its spelling; or the cluster has no route to the internet "
    "(a local cluster gets one with EGRESS=on)."
)

_log = get_logger(__name__)


class Agents:
    """Steps in browser pods.

    Args:
        keys: the ring that pods' tokens are made with.
    """

    def __init__(self, client: AgentClient, keys: MountedKeys) -> None:
        self._client = client
        self._keys = keys

    async def navigate(self, session: Session, step: Navigate) -> Navigated:
        """Load a page in the session's browser; raises AgentError or Problem."""
        return await self._client.navigate(*self._where(session), step)

    async def capture(self, session: Session, step: Capture) -> Captured:
        """Capture the session's page; raises AgentError or Problem."""
        return await self._client.capture(*self._where(session), step)

    async def interact(self, session: Session, step: Interact) -> Interacted:
        """Act on the session's page; raises AgentError or Problem, as all steps do."""
        return await self._client.interact(*self._where(session), step)

    async def wait(self, session: Session, step: Wait) -> Waited:
        """Wait for a condition."""
        return await self._client.wait(*self._where(session), step)

    async def extract(self, session: Session, step: Extract) -> Extracted:
        """Read values from the session's page."""
        return await self._client.extract(*self._where(session), step)

    async def state(self, session: Session, step: State) -> PageState:
        """Return what the session's page is."""
        return await self._client.state(*self._where(session), step)

    async def steps_done(self, session: Session, seconds: float) -> dict[str, StepCounts]:
        """Return the steps that have succeeded, by date; raises AgentError, within this time, or Problem."""
        return (await self._client.activity(*self._where(session), timeout=seconds)).usage

    async def devtools(self, session: Session, key: str) -> tuple[asyncio.Transport, bytes]:
        """Open a WebSocket of DevTools messages, see `dial`; raises AgentError or Problem."""
        return await dial(*self._where(session), key)

    def _where(self, session: Session) -> tuple[str, str, str]:
        browser = _browser(session)
        return browser.address, self._token(browser), session.uid

    def _token(self, browser: Browser) -> str:
        try:
            return self._keys.ring.token(browser.pod, browser.token_key)
        except KeyError as error:
            _log.error("the agent key of a pod is not in the ring", pod=browser.pod, key=browser.token_key)
            raise unavailable("This session's browser can't be reached: its key is not known here.") from error


def problem_of(error: AgentError, timeout_ms: int) -> Problem:
    """Return the problem for a step that failed; timeout_ms is the step's own."""
    if isinstance(error, AgentTimeout):
        return _timeout(timeout_ms)
    if isinstance(error, AgentProblem):
        return _of_agent(error, timeout_ms)
    if isinstance(error, AgentUnreachable):
        _log.warning("agent unreachable", error=str(error))
    return Problem("driver-error", "The session's browser did not answer.")


def _of_agent(error: AgentProblem, timeout_ms: int) -> Problem:
    if error.code is ProblemCode.TIMEOUT:
        return _timeout(timeout_ms, error.message)
    if error.code is ProblemCode.PAGE_FAILED:
        hint = f" {NO_ROUTE_HINT}" if "ERR_NAME_NOT_RESOLVED" in error.message else ""
        return Problem("driver-error", f"{error.message.rstrip('.')}.{hint}")
    if error.code is ProblemCode.STEP_RUNNING:
        return Problem("conflict", "A step is running in this session; one runs at a time.")
    if error.code is ProblemCode.TOO_MANY_CLIENTS:
        limit = error.details.get("limit")
        return Problem("conflict", f"This session has {limit} DevTools connections already, the most there can be.")
    if error.code is ProblemCode.ENDED:
        return Problem("driver-error", "The session's browser was stopped.") if was_stopped(error) else gone()
    if error.code is ProblemCode.TOO_LARGE:
        sizes = {name: error.details.get(name) for name in ("limit_bytes", "size_bytes")}
        return Problem("payload-too-large", "What was asked for is larger than an answer can be.", **sizes)
    if error.code is ProblemCode.INVALID:
        # All else that a step can carry is checked before: which URLs, selectors and keys will do, the agent knows.
        return invalid([Issue(str(error.details.get("path", "url")), error.message)])
    if error.code is not ProblemCode.BROWSER_FAILED:
        _log.error("unexpected refusal of an agent", code=error.code.value, error=error.message)
    return Problem("driver-error", "The session's browser failed.")


def was_stopped(error: AgentError) -> bool:
    """Whether the pod is being stopped; why (DELETE, eviction, …), only the session's end tells."""
    return isinstance(error, AgentProblem) and error.details.get("reason") == EndReason.TERMINATED


def gone() -> Problem:
    """Return the problem for a session that has ended."""
    return Problem("session-destroyed", "The session has ended.")


def _timeout(timeout_ms: int, what: str = "") -> Problem:
    detail = f"{what[0].upper()}{what[1:]}." if what else f"The step took longer than {timeout_ms} ms."
    return Problem("session-timeout", detail, timeout_ms=timeout_ms)


def _browser(session: Session) -> Browser:
    browser = session.status.browser
    if browser is None or not browser.address:
        raise Problem("driver-error", "The session's browser has no address.")
    return browser
