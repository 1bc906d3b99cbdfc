"""Agents that are asked whether a step still runs: a task per session, so that no worker waits for a silent one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from driftstack_common.agent_client import AgentClient, AgentError
from driftstack_common.logging import get_logger
from driftstack_common.protocol import Activity

logger = get_logger(__name__)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """An agent to ask; step is the number of the step that is marked."""

    address: str
    token: str
    step: int


class Asking:
    """The questions in progress, by the uid of their session.

    Args:
        agents: client to ask with.
        done: told the uid, the step's number, and the agent's answer, None when there is none.
    """

    def __init__(self, agents: AgentClient, done: Callable[[str, int, Activity | None], None]) -> None:
        self._agents = agents
        self._done = done
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def running(self, uid: str) -> bool:
        """Whether the session's agent is being asked."""
        return uid in self._tasks

    def start(self, uid: str, question: Question) -> None:
        """Ask once; does nothing when this is already under way."""
        if uid not in self._tasks:
            self._tasks[uid] = asyncio.create_task(self._ask(uid, question), name=f"ask-{uid}")

    def cancel(self, uid: str) -> None:
        """Wait for no answer any more."""
        task = self._tasks.pop(uid, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Cancel all questions and wait until they have ended."""
        tasks = list(self._tasks.values())
        for uid in list(self._tasks):
            self.cancel(uid)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, uid: str, question: Question) -> None:
        activity = None
        try:
            activity = await self._agents.activity(question.address, question.token, uid)
        except AgentError as error:  # only the pod's or its node's state ends a session
            logger.warning("agent does not answer", session=uid, error=str(error))
        except Exception:  # a bug here must not leave the session asked for ever
            logger.exception("question failed", session=uid)
        del self._tasks[uid]
        self._done(uid, question.step, activity)
