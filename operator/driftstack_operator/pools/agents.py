"""Asks the agents of waiting pods whose they are: only what they say makes a pod one that may be taken.

A pod that nobody holds joins its pool's line. The half of a claim that an operator left undone when it died is
found by that, too: an agent that is held though its pod is labelled warm. If its session still wants a pod, it gets
this one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from driftstack_common.agent_client import AgentClient, AgentError, AgentProblem
from driftstack_common.agent_token import KeyRing
from driftstack_common.kinds import Device, Session
from driftstack_common.names import DEFAULT_ARCHETYPE
from driftstack_common.protocol import Prepare, ProblemCode
from driftstack_operator.metrics import Metrics
from driftstack_operator.pods.view import PodView
from driftstack_operator.polls import Polls
from driftstack_operator.pools.index import WarmPods
from driftstack_operator.pools.memory import Memories
from driftstack_operator.pools.room import Room
from driftstack_operator.settings import Settings
from driftstack_operator.store import Store

PAUSE: Final = 0.05
"""Seconds between two questions, at least: refills are in no hurry, and knocking at closed doors was a quarter of a
leader's work."""


class Answer(msgspec.Struct, frozen=True):
    """What an agent said: the uid of the session that holds it, None for nobody; or why it will not serve."""

    holder: str | None = None
    refusal: str = ""


class PoolAgents:
    """The agents of waiting pods.

    Args:
        agents: client to ask with.
        store: the pods, and the sessions that may hold them.
        keys: makes the agents' tokens.
        settings: where the catalogue is.
        metrics: told how long pods took to be warm.
        index: told which pods may be taken.
        memories: what the pools' pods show, and how long they take.
        room: the sessions that wait for any pod.
        touch_pool, touch_session: have a pool, by name, or a session, by uid, reconciled.

    Attributes:
        refused: why agents will not serve, by the uid of their pod.
    """

    def __init__(
        self,
        *,
        agents: AgentClient,
        store: Store,
        keys: KeyRing,
        settings: Settings,
        metrics: Metrics,
        index: WarmPods,
        memories: Memories,
        room: Room,
        touch_pool: Callable[[str], None],
        touch_session: Callable[[str], None],
    ) -> None:
        self._agents = agents
        self._store = store
        self._keys = keys
        self._settings = settings
        self._metrics = metrics
        self._index = index
        self._memories = memories
        self._room = room
        self._touch_pool = touch_pool
        self._touch_session = touch_session
        self._polls: Polls[Answer] = Polls(
            "warm", self._answered, lambda error: Answer(refusal=repr(error)), shortest=PAUSE
        )
        self.refused: dict[str, str] = {}

    def ask(self, pod: PodView) -> None:
        """Have an agent asked until it answers, unless it is being asked or has answered."""
        if not pod.waits or pod.over or not pod.address:
            return
        answered = self._index.offered(pod.uid) or pod.uid in self._index.kept() or pod.uid in self.refused
        if answered or self._polls.running(pod.uid):
            return
        try:
            token = self._keys.token(pod.name, pod.token_key or None)
        except KeyError:
            self.refused[pod.uid] = f"agent key {pod.token_key!r} is no longer in the key ring"
            return
        self._polls.start(pod.uid, partial(self._once, pod, token, self._device(pod.pool)))

    def forget(self, uid: str) -> None:
        """Ask no more, and forget what was said."""
        self._polls.cancel(uid)
        self.refused.pop(uid, None)

    def clear(self) -> None:
        """Ask no agent whose pod has stopped waiting, and forget what was said by those whose pods are gone."""
        for uid in self._polls.all():
            pod = self._store.pods.by_uid(uid)
            if pod is None or not pod.waits:
                self._polls.cancel(uid)
        self.refused = {uid: why for uid, why in self.refused.items() if self._store.pods.by_uid(uid) is not None}

    async def wait(self, seconds: float) -> None:
        """Wait for the answers of those that are asked now, at most so long."""
        await self._polls.wait(seconds)

    async def close(self) -> None:
        """Ask nobody any more."""
        await self._polls.close()

    async def _once(self, pod: PodView, token: str, device: Device | None) -> Answer | None:
        now = self._store.pods.by_uid(pod.uid)
        if now is None or not now.waits:
            return Answer(refusal="the pod is gone")
        try:
            if device is None:
                return Answer(holder=await self._agents.holder(pod.address, token))
            return Answer(holder=await self._agents.prepare(pod.address, token, Prepare(device=device)))
        except AgentProblem as problem:
            if problem.code is ProblemCode.NOT_FOUND and device is not None:  # an agent from before an upgrade
                return await self._once(pod, token, None)
            return None if problem.code is ProblemCode.STARTING else Answer(refusal=str(problem))
        except AgentError:
            return None

    def _answered(self, uid: str, answer: Answer) -> None:
        pod = self._store.pods.by_uid(uid)
        if pod is None or not pod.waits:
            return
        if answer.refusal:
            self.refused[uid] = answer.refusal
        elif answer.holder is not None:
            self._give_to_holder(pod, answer.holder)
        else:
            self._warmed(pod)
        self._touch_pool(pod.pool)

    def _give_to_holder(self, pod: PodView, session: str) -> None:
        """A claim was left half done: its session gets the pod if it still wants one."""
        if self._still_wants(self._store.sessions.by_uid(session)):
            self._index.take(pod, session)
            self._touch_session(session)
        else:
            self.refused[pod.uid] = f"session {session}, which does not want it any more, holds it"

    def _still_wants(self, session: Session | None) -> bool:
        """Whether a session has not got a pod yet."""
        if session is None or session.ending or session.status.browser is not None:
            return False
        return not self._store.pods.group(session.uid) and self._index.kept_for(session.uid) is None

    def _warmed(self, pod: PodView) -> None:
        self._index.offer(pod)
        memory = self._memories.of(pod.pool)
        took = memory.warmed(pod.name) if memory is not None else None
        if took is not None:
            self._metrics.pool_refill.labels(pod.pool).observe(took)
        for homeless in self._room.homeless():  # its session may have this one
            if homeless.pool == pod.pool:
                self._touch_session(homeless.session)

    def _device(self, pool: str) -> Device | None:
        """Return what warm pods show, so that a session that wants the same is ready the sooner.

        It is what the last session wanted, at first the catalogue's default.
        """
        memory = self._memories.of(pool)
        if memory is not None and memory.device is not None:
            return memory.device
        archetype = self._store.archetypes.get(self._settings.system_namespace, DEFAULT_ARCHETYPE)
        return archetype.spec.device if archetype is not None else None
