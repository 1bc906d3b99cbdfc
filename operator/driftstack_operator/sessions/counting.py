"""How many steps a session has done, for its record: by the last word of its agent, or by asking it."""

from __future__ import annotations

from typing import Final

from driftstack_common.agent_client import AgentClient, AgentError
from driftstack_common.agent_token import KeyRing
from driftstack_common.kinds import Session, StepCounts
from driftstack_common.logging import get_logger
from driftstack_common.times import now
from driftstack_common.usage import plausible
from driftstack_operator.pods.outcome import agent_usage
from driftstack_operator.pods.view import PodView
from driftstack_operator.sessions.decide import Observed
from driftstack_operator.sessions.tracks import Track

ANSWER_SECONDS: Final = 1.0
"""An end waits no longer for an agent that says nothing: then what it said before counts."""

logger = get_logger(__name__)


class Counting:
    """Finds out what sessions have done.

    Args:
        agents: client to ask with.
        keys: makes the agents' tokens.
    """

    def __init__(self, agents: AgentClient, keys: KeyRing) -> None:
        self._agents = agents
        self._keys = keys

    async def steps(self, session: Session, seen: Observed, track: Track) -> dict[str, StepCounts]:
        """Return the session's steps by date, as far as they are known."""
        told = agent_usage(seen.pod)
        if told is None and seen.pod is not None and _can_answer(session, seen, seen.pod):
            told = await self._ask(session.uid, seen.pod)
        return plausible(told or track.usage, session.created_at.date(), now().date())

    async def _ask(self, uid: str, pod: PodView) -> dict[str, StepCounts] | None:
        try:
            token = self._keys.token(pod.name, pod.token_key or None)
            activity = await self._agents.activity(pod.address, token, uid, timeout=ANSWER_SECONDS)
        except (AgentError, KeyError) as error:
            logger.warning("steps not counted: the agent does not say", session=uid, error=str(error))
            return None
        return activity.usage


def _can_answer(session: Session, seen: Observed, pod: PodView) -> bool:
    """Whether an agent is there that has served the session, on a node that reports."""
    served = session.status.browser is not None and pod.running and not pod.gone
    return served and seen.node_lost_in is None
