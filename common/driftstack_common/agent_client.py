"""Client of the agent in a browser pod: the protocol of `protocol.py` over HTTP.

AgentError
 ├─ AgentUnreachable  no answer, or none that an agent would give; `sent` tells whether it may have been acted on
 ├─ AgentTimeout      no answer within the call's deadline
 └─ AgentProblem      the agent's own refusal, with its code
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from driftstack_common.errors import DriftstackError
from driftstack_common.guard import Guard
from driftstack_common.protocol import (
    CLAIM_PATH,
    DOCUMENT_LIMIT,
    DURATION_HEADER,
    HEALTH_PATH,
    PREPARE_PATH,
    Activity,
    Capture,
    Claim,
    Claimed,
    Health,
    Holder,
    Message,
    Navigate,
    Navigated,
    Prepare,
    Problem,
    ProblemCode,
)
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

SHORT_DEADLINE: Final = 5.0
"""Seconds for a call that runs no step."""
STEP_GRACE: Final = 2.0
"""Seconds beyond a step's own timeout_ms, so that the agent's answer about it still arrives."""
CONNECT_DEADLINE: Final = 2.0
"""Seconds to open a connection; pods are one hop away."""
_LARGEST: Final = DOCUMENT_LIMIT + 64 * 1024

T = TypeVar("T")


class AgentError(DriftstackError):
    """The agent could not be asked, or refused."""


class AgentUnreachable(AgentError):
    """No usable answer.

    Attributes:
        sent: whether the request may have reached the agent; when False, it is safe to send again.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class AgentTimeout(AgentError):
    """The deadline passed; the agent may still be at it."""


class AgentProblem(AgentError):
    """The agent answered with a problem; details by code as in `protocol.Problem`."""

    def __init__(self, code: ProblemCode, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = details or {}


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """What was captured: raw bytes, and how long it took, milliseconds."""

    data: bytes
    duration_ms: int


def open_session() -> aiohttp.ClientSession:
    """Return a session for AgentClient: connections are kept and reused, their number is the caller's matter.

    The environment's proxies are ignored: pods are inside the cluster.
    """
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60, use_dns_cache=False)
    return aiohttp.ClientSession(connector=connector, trust_env=False, auto_decompress=False)


class AgentClient:
    """Calls to agents, each named by its `host:port` (status.browser.address) and token (agent_token.KeyRing).

    Every method raises a subclass of AgentError, nothing else (but what a guard raises).

    Args:
        session: see `open_session`; the caller closes it.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._guard: Guard | None = None

    def guarded(self, guard: Guard) -> AgentClient:
        """Return a client on the same session with a guard before every `claim` and every `step`."""
        client = copy(self)
        client._guard = guard
        return client

    async def health(self, address: str, *, timeout: float = SHORT_DEADLINE) -> Health:
        """Return what the agent says about itself, also while it starts (503)."""
        status, body, _ = await self._send("GET", address, HEALTH_PATH, None, None, timeout)
        if status in (200, 503):
            return _decode(body, Health)
        raise refusal(status, body)

    async def holder(self, address: str, token: str, *, timeout: float = SHORT_DEADLINE) -> str | None:
        """Return the uid of the session that holds the pod, None for a warm one; AgentProblem STARTING before."""
        return await self._holder("GET", address, CLAIM_PATH, token, None, timeout)

    async def prepare(
        self, address: str, token: str, prepare: Prepare, *, timeout: float = SHORT_DEADLINE
    ) -> str | None:
        """Have a warm pod show a device, and return its holder as `holder` does; one that is held shows its own."""
        return await self._holder("POST", address, PREPARE_PATH, token, prepare, timeout)

    async def _holder(
        self, method: str, address: str, path: str, token: str, message: Message | None, timeout: float
    ) -> str | None:
        status, body, _ = await self._send(method, address, path, token, message, timeout)
        if status != 200:
            raise refusal(status, body)
        return _decode(body, Holder).session

    async def claim(
        self,
        address: str,
        token: str,
        claim: Claim,
        *,
        timeout: float = SHORT_DEADLINE,
        connect_timeout: float = CONNECT_DEADLINE,
    ) -> Claimed:
        """Give the pod to a session; safe to repeat. AgentProblem HOLDER_CONFLICT names another holder."""
        body, _ = await self._act("claim", address, CLAIM_PATH, token, claim, timeout, connect_timeout)
        return _decode(body, Claimed)

    async def activity(
        self, address: str, token: str, session: str, *, timeout: float = SHORT_DEADLINE
    ) -> Activity:
        """Return what the agent does for this session (its uid) now."""
        status, body, _ = await self._send("GET", address, f"/sessions/{session}", token, None, timeout)
        if status != 200:
            raise refusal(status, body)
        return _decode(body, Activity)

    async def navigate(self, address: str, token: str, session: str, step: Navigate) -> Navigated:
        """Load a page; takes at most the step's timeout_ms and STEP_GRACE."""
        deadline = step.timeout_ms / 1000 + STEP_GRACE
        body, _ = await self._act("step", address, f"/sessions/{session}/navigate", token, step, deadline)
        return _decode(body, Navigated)

    async def capture(self, address: str, token: str, session: str, step: Capture) -> Captured:
        """Capture the page; takes at most the step's timeout_ms and STEP_GRACE."""
        deadline = step.timeout_ms / 1000 + STEP_GRACE
        body, headers = await self._act("step", address, f"/sessions/{session}/capture", token, step, deadline)
        duration = headers.get(DURATION_HEADER, "")
        if not duration.isdigit():
            raise AgentUnreachable(f"a capture came without {DURATION_HEADER}", sent=True)
        return Captured(data=body, duration_ms=int(duration))

    async def interact(self, address: str, token: str, session: str, step: Interact) -> Interacted:
        """Act on the page; takes at most the step's timeout_ms and STEP_GRACE, as all below."""
        return await self._step(Interacted, address, token, session, "interact", step, step.timeout_ms)

    async def wait(self, address: str, token: str, session: str, step: Wait) -> Waited:
        """Wait for a condition."""
        return await self._step(Waited, address, token, session, "wait", step, step.timeout_ms)

    async def extract(self, address: str, token: str, session: str, step: Extract) -> Extracted:
        """Read values from the page."""
        return await self._step(Extracted, address, token, session, "extract", step, step.timeout_ms)

    async def state(self, address: str, token: str, session: str, step: State) -> PageState:
        """Return what the page is."""
        return await self._step(PageState, address, token, session, "state", step, step.timeout_ms)

    async def _step(
        self, returns: type[T], address: str, token: str, session: str, name: str, step: Message, timeout_ms: int
    ) -> T:
        deadline = timeout_ms / 1000 + STEP_GRACE
        body, _ = await self._act("step", address, f"/sessions/{session}/{name}", token, step, deadline)
        return _decode(body, returns)

    async def _act(
        self,
        act: str,
        address: str,
        path: str,
        token: str,
        message: Message,
        timeout: float,
        connect_timeout: float = CONNECT_DEADLINE,
    ) -> tuple[bytes, Mapping[str, str]]:
        if self._guard is not None:
            self._guard.before(act)
        status, body, headers = await self._send("POST", address, path, token, message, timeout, connect_timeout)
        if status != 200:
            raise refusal(status, body)
        if self._guard is not None:
            self._guard.after(act)
        return body, headers

    async def _send(
        self,
        method: str,
        address: str,
        path: str,
        token: str | None,
        message: Message | None,
        timeout: float,
        connect_timeout: float = CONNECT_DEADLINE,
    ) -> tuple[int, bytes, Mapping[str, str]]:
        headers = {"Accept": "*/*"} if token is None else {"Accept": "*/*", "Authorization": f"Bearer {token}"}
        data = None
        if message is not None:
            data = msgspec.json.encode(message)
            headers["Content-Type"] = "application/json"
        limits = aiohttp.ClientTimeout(total=timeout, connect=connect_timeout)
        try:
            async with self._session.request(
                method, f"http://{address}{path}", data=data, headers=headers, timeout=limits, allow_redirects=False
            ) as response:
                return response.status, await _read(response), response.headers
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise AgentUnreachable(f"no connection to the agent at {address}: {error}", sent=False) from error
        except TimeoutError as error:
            raise AgentTimeout(f"the agent at {address} did not answer in {timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise AgentUnreachable(f"the agent at {address} broke off: {error!r}", sent=True) from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the whole body; what is larger than any capture is no agent's answer."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > _LARGEST:
            raise AgentUnreachable(f"an answer of more than {_LARGEST} bytes", sent=True)
    return b"".join(chunks)


def refusal(status: int, body: bytes) -> AgentError:
    """Return what an answer that is no success says."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except msgspec.DecodeError:
        return AgentUnreachable(f"what answers there is no agent (HTTP {status})", sent=True)
    return AgentProblem(problem.code, problem.message, problem.details)


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise AgentUnreachable(f"the agent's answer is no {kind.__name__}: {error}", sent=True) from error
