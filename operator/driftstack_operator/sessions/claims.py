"""Claims in progress: one task per session asks the agent until it answers, so that no worker waits for an agent.

Kubernetes' own probes see whole seconds; here a new agent is found some ten milliseconds after it listens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from driftstack_common.agent_client import AgentClient, AgentError, AgentProblem
from driftstack_common.kube.errors import Unreachable
from driftstack_common.logging import get_logger
from driftstack_common.protocol import Claim, Claimed, ProblemCode
from driftstack_operator.sessions.decide import Refused

SHORTEST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 0.25
SLOWING: Final = 0.02
"""Pause as a share of the time since the last sign of progress: an image that is pulled for a minute is not
asked after a hundred times a second."""
CONNECT_TIMEOUT: Final = 0.25
ANSWER_TIMEOUT: Final = 5.0
FINAL: Final = frozenset(
    {ProblemCode.INVALID, ProblemCode.UNAUTHORIZED, ProblemCode.NOT_FOUND, ProblemCode.HOLDER_CONFLICT}
)
"""Answers that asking again won't change."""

logger = get_logger(__name__)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An agent to ask, and what for."""

    address: str
    token: str
    claim: Claim


class _Asking:
    """A running claim; progress restarts its pace."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.since = time.monotonic()
        self.progress = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def pause(self) -> None:
        seconds = min(max((time.monotonic() - self.since) * SLOWING, SHORTEST_PAUSE), LONGEST_PAUSE)
        try:
            async with asyncio.timeout(seconds):
                await self.progress.wait()
            self.progress.clear()
            self.since = time.monotonic()
        except TimeoutError:
            return


class Claims:
    """The claims in progress, by the uid of their session.

    Args:
        agents: client to ask with.
        done: told the uid and the answer, once, unless the claim is cancelled before.
    """

    def __init__(self, agents: AgentClient, done: Callable[[str, Claimed | Refused], None]) -> None:
        self._agents = agents
        self._done = done
        self._asking: dict[str, _Asking] = {}

    def running(self, uid: str) -> bool:
        """Whether the session's agent is being asked."""
        return uid in self._asking

    def start(self, uid: str, target: Target) -> None:
        """Ask until there is an answer; does nothing when this is already under way."""
        if uid in self._asking:
            return
        asking = self._asking[uid] = _Asking(target)
        asking.task = asyncio.create_task(self._ask(uid, asking), name=f"claim-{uid}")

    def hurry(self, uid: str) -> None:
        """Ask at once and often: something about the pod has changed."""
        if uid in self._asking:
            self._asking[uid].progress.set()

    def cancel(self, uid: str) -> None:
        """Ask no more."""
        asking = self._asking.pop(uid, None)
        if asking is not None and asking.task is not None:
            asking.task.cancel()

    async def close(self) -> None:
        """Cancel all claims and wait until they have ended."""
        tasks = [asking.task for asking in self._asking.values() if asking.task is not None]
        for uid in list(self._asking):
            self.cancel(uid)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, uid: str, asking: _Asking) -> None:
        try:
            while (answer := await self._once(asking.target)) is None:
                await asking.pause()
        except Exception as error:  # a bug here must end this session's start, not leave it asked for ever
            logger.exception("claim failed", session=uid)
            answer = Refused(f"the claim failed: {error!r}")
        if self._asking.get(uid) is asking:
            del self._asking[uid]
            self._done(uid, answer)

    async def _once(self, target: Target) -> Claimed | Refused | None:
        try:
            return await self._agents.claim(
                target.address,
                target.token,
                target.claim,
                timeout=ANSWER_TIMEOUT,
                connect_timeout=CONNECT_TIMEOUT,
            )
        except AgentProblem as problem:
            return Refused(f"the agent refused the session: {problem}") if problem.code in FINAL else None
        except (AgentError, Unreachable):
            # Not there yet: the pod's state and the start timeout say when to give up. Or not asked, because this
            # operator does not lead: the end of its term cancels the claim.
            return None
