"""Claims in progress: one poll per session, until the agent of its pod takes or refuses it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from driftstack_common.agent_client import AgentClient, AgentError, AgentProblem
from driftstack_common.kube.errors import Unreachable
from driftstack_common.protocol import Claim, Claimed, ProblemCode
from driftstack_operator.polls import Polls
from driftstack_operator.sessions.decide import Refused

CONNECT_TIMEOUT: Final = 0.25
ANSWER_TIMEOUT: Final = 5.0
FINAL: Final = frozenset(
    {ProblemCode.INVALID, ProblemCode.UNAUTHORIZED, ProblemCode.NOT_FOUND, ProblemCode.HOLDER_CONFLICT}
)
"""Answers that asking again won't change."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An agent to ask, and what for; pooled if its pod was warm, and another can take its place."""

    address: str
    token: str
    claim: Claim
    pooled: bool = False


class Claims(Polls[Claimed | Refused]):
    """The claims in progress, by the uid of their session.

    Args:
        agents: client to ask with.
        done: told the uid and the answer, once, unless the claim is cancelled before.
    """

    def __init__(self, agents: AgentClient, done: Callable[[str, Claimed | Refused], None]) -> None:
        super().__init__("claim", done, lambda error: Refused(f"the claim failed: {error!r}"))
        self._agents = agents

    def claim(self, uid: str, target: Target) -> None:
        """Ask until there is an answer; does nothing when this is already under way."""
        self.start(uid, partial(self._once, target))

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
            final = problem.code in FINAL or (target.pooled and problem.code is ProblemCode.ENDED)
            # What Chromium makes of the device is the same in every pod.
            elsewhere = target.pooled and problem.code is not ProblemCode.INVALID
            return Refused(f"the agent refused the session: {problem}", elsewhere) if final else None
        except (AgentError, Unreachable):
            # Not there yet: the pod's state and the start timeout say when to give up. Or not asked, because this
            # operator does not lead: the end of its term cancels the claim.
            return None
