"""Keeps pools: starts warm pods, removes what is old, broken or too many, gives them out and says how it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from driftstack_common.agent_client import AgentClient
from driftstack_common.agent_token import KeyRing
from driftstack_common.kinds import Device, Pool
from driftstack_common.kube.client import KubeClient
from driftstack_common.times import now
from driftstack_operator.metrics import Metrics
from driftstack_operator.pods.outcome import hopeless, outcome, stuck
from driftstack_operator.pods.view import PodView
from driftstack_operator.pools.agents import PoolAgents
from driftstack_operator.pools.demand import Starts, desired
from driftstack_operator.pools.index import WarmPods
from driftstack_operator.pools.memory import Memories, Memory
from driftstack_operator.pools.plan import Calm, Cause, Member, plan
from driftstack_operator.pools.pods import PoolPods
from driftstack_operator.pools.room import Room, in_order
from driftstack_operator.pools.status import Count, due_in, status_of
from driftstack_operator.reasons import End, Reason, end
from driftstack_operator.settings import Settings
from driftstack_operator.store import Store, pool_group, serving_group

ASKED_FIRST: Final = 0.25
"""Seconds for which a new leader waits for the warm pods' agents before it serves anybody; those of pods that are
starting can't answer yet."""


class Pools:
    """Reconciles pools, each by its name.

    Args:
        kube: client to write with.
        agents: client to ask with.
        store: what is observed; learns what each write answered.
        keys: makes the agents' tokens.
        settings: namespaces, and how calm it must be for a refill.
        metrics: told what was done.
        touch_pool, touch_session: have a pool, by name, or a session, by uid, reconciled.
    """

    def __init__(
        self,
        *,
        kube: KubeClient,
        agents: AgentClient,
        store: Store,
        keys: KeyRing,
        settings: Settings,
        metrics: Metrics,
        touch_pool: Callable[[str], None],
        touch_session: Callable[[str], None],
    ) -> None:
        self._pods = PoolPods(kube, store, keys, settings, metrics)
        self._agents = agents
        self._store = store
        self._keys = keys
        self._settings = settings
        self._metrics = metrics
        self._touch_pool = touch_pool
        self._touch_session = touch_session
        self.begin()

    def begin(self) -> None:
        """Begin a term: nothing is known of what agents said before it."""
        self.index = WarmPods(self._usable)
        self.starts = Starts()
        self.memories = Memories(self._store, self._settings.browser_namespace)
        self.room = Room(self._store, self.memories.pool)
        self._going: set[str] = set()
        self._pool_agents = PoolAgents(
            agents=self._agents,
            store=self._store,
            keys=self._keys,
            settings=self._settings,
            metrics=self._metrics,
            index=self.index,
            memories=self.memories,
            room=self.room,
            touch_pool=self._touch_pool,
            touch_session=self._touch_session,
        )

    async def close(self) -> None:
        """Ask no agent any more, and show nothing: the next leader does."""
        self._metrics.forget_pools()
        await self._pool_agents.close()

    async def ask_all(self) -> None:
        """Ask the agents of all waiting pods, and wait a moment for their answers."""
        for pod in self._store.pods.values():
            self._pool_agents.ask(pod)
        await self._pool_agents.wait(ASKED_FIRST)

    # -- what sessions do

    def take(self, pod: PodView, session: str, device: Device) -> None:
        """A session takes a pod; it is kept for it until `release`. The next are likely to want this device too."""
        memory = self.memories.of(pod.pool)
        if memory is not None:
            memory.gone(pod.name)
            memory.device = device
        self._pool_agents.forget(pod.uid)
        self.index.take(pod, session)

    def release(self, session: str) -> None:
        """A session has its pod, or needs none any more: then the pod's agent is asked again whose it is."""
        pod = self.index.kept_for(session)
        self.index.release(session)
        if pod is not None:
            self._touch_pool(pod.pool)

    def begins(self, session: str, pool: str) -> None:
        """A session's start begins."""
        memory = self.memories.of(pool)
        if self.starts.begun(session) and memory is not None:
            memory.demand.came()

    def served(self, pod: PodView, took: float | None) -> None:
        """A session was called ready; its agent and its pod were asked for it for so many seconds."""
        memory = self.memories.of(pod.pool)
        if memory is not None:
            memory.served(warm=pod.pooled)
        self._metrics.pool_claims.labels(pod.pool, "hit" if pod.pooled else "miss").inc()
        if pod.pooled and took is not None:
            self._metrics.pool_claim_seconds.labels(pod.pool).observe(took)
        self._touch_pool(pod.pool)

    def ended(self, session: str) -> None:
        """A session has ended, or its start has."""
        self.starts.ended(session)
        self.release(session)

    def lost(self, pod: PodView, problem: End) -> None:
        """A pod that a session took did not serve it."""
        memory = self.memories.of(pod.pool)
        if memory is not None:
            memory.failed(pod.name, problem)
        self._metrics.pool_claims.labels(pod.pool, "lost").inc()

    # -- reconciliation

    async def reconcile(self, name: str) -> float | None:
        """Do what can be done for the pool now; return when to look again, seconds."""
        pods = self._waiting(name)
        self.index.keep(name, {pod.uid for pod in pods})
        self._pool_agents.clear()
        memory = self.memories.of(name)
        pool = self.memories.pool(name)
        if pool is None or memory is None:
            self._metrics.forget_pool(name)
            for pod in pods:
                await self._remove(pod, Cause.SURPLUS)
            return None
        memory.keep({pod.name for pod in pods})
        for pod in pods:
            if pod.uid not in self._going:
                self._pool_agents.ask(pod)
            if pod.unschedulable is not None:
                memory.homeless(pod.name)
        members = self._members(pool, pods, memory)
        wanted = desired(pool.spec, memory.demand.peak(), memory.start_seconds, memory.desired)
        memory.desired = wanted
        short_for = memory.count_short(short=sum(m.ready for m in members) < wanted)
        going = any(pod.deleting for pod in self._store.pods.group(pool_group(name)).values())
        calm = Calm(
            quiet_for=self.starts.quiet_for(),
            short_for=short_for,
            wait=self._settings.refill_quiet_seconds,
            patience=self._settings.refill_patience_seconds,
            crowded=self.room.crowded(pool.spec),
            settling=memory.settling(going=going),
        )
        await self._remove_failed(members, memory)
        todo = plan(members, wanted, calm, nodes=len(self._store.nodes), blocked_for=memory.blocked_for())
        for pod, cause in todo.delete:
            await self._remove(pod, cause)
            memory.gone(pod.name)
        await self._pods.create(pool, memory, todo.create)
        again = memory.blocked_for() or todo.again  # one that was just refused is tried again, too
        status_due = await self._tell(pool, memory, wanted, short_for)
        return min((seconds for seconds in (again, status_due) if seconds is not None), default=None)

    async def make_room(self, pod: PodView, near: str) -> PodView | None:
        """Have warm pods give way to a session's pod; return the one that frees room on a node.

        Args:
            near: the node where one gave way to it before, if any.
        """
        waiting = [each for pool in self._store.pools.values() for each in self._waiting(pool.metadata.name)]
        ready = {each.uid for each in waiting if self.index.offered(each.uid)}
        for each in in_order(waiting, ready, pod.pool, near):
            if self.room.made_by(each, pod) and await self._give_way(each, pod) and each.node:
                return each
        return None

    async def _give_way(self, warm: PodView, pod: PodView) -> bool:
        try:
            if not await self._remove(warm, Cause.GAVE_WAY):
                return False
        finally:
            self._touch_pool(warm.pool)  # the agent of one that stays is asked again
        memory = self.memories.of(warm.pool)
        if memory is not None:
            memory.gone(warm.name)
            memory.gave_way = pod.unschedulable or ""
        return True

    def _waiting(self, name: str) -> list[PodView]:
        kept = self.index.kept()
        pods = self._store.pods.group(pool_group(name)).values()
        return sorted(
            (p for p in pods if p.waits and p.uid not in kept), key=lambda p: (p.created_at or now(), p.name)
        )

    def _members(self, pool: Pool, pods: list[PodView], memory: Memory) -> list[Member]:
        template = self._pods.template(pool)
        members = []
        for pod in pods:
            ready = self.index.offered(pod.uid)
            old = ready and memory.age(pod) > pool.spec.max_age_seconds
            stale = old or pod.template != template
            if ready and stale:
                self.index.offer(pod)  # behind those of today
            members.append(Member(pod=pod, ready=ready, stale=stale, failed=self._is_failed(pod, ready, memory)))
        return members

    async def _remove_failed(self, members: list[Member], memory: Memory) -> None:
        for pod in [member.pod for member in members if member.failed]:
            failure = self._failure(pod)
            await self._remove(pod, Cause.FAILED)
            memory.failed(pod.name, failure)

    def _is_failed(self, pod: PodView, ready: bool, memory: Memory) -> bool:
        if pod.over or pod.uid in self._pool_agents.refused or self._lost_in(pod) == 0:
            return True
        # What hinders a pod that doesn't run yet may pass, and the kubelet tries again by itself.
        return not ready and pod.running and memory.ran(pod.name) > self._settings.start_timeout_seconds

    def _failure(self, pod: PodView) -> End:
        ended = outcome(pod, node_lost=self._lost_in(pod) == 0)
        refusal = self._pool_agents.refused.get(pod.uid, "the agent did not answer in time")
        return ended or end(Reason.START_FAILED, refusal)

    def _lost_in(self, pod: PodView) -> float | None:
        return self._store.node_lost_in(pod.node, self._settings.node_patience_seconds)

    async def _remove(self, pod: PodView, cause: Cause) -> bool:
        """Remove a pod; return whether it goes now."""
        # A session took it while others were removed, or it is being removed for another reason.
        if pod.uid in self.index.kept() or pod.uid in self._going:
            return False
        self._going.add(pod.uid)
        # Before the first await: nobody takes a pod that is about to go.
        self.index.forget(pod.uid)
        self._pool_agents.forget(pod.uid)
        try:
            return await self._pods.delete(pod, cause, lost=self._lost_in(pod) == 0)
        finally:
            self._going.discard(pod.uid)

    def _usable(self, uid: str) -> PodView | None:
        pod = self._store.pods.by_uid(uid)
        if pod is None or not pod.waits or pod.over or not pod.address or self._lost_in(pod) is not None:
            return None
        return pod

    # -- status

    async def _tell(self, pool: Pool, memory: Memory, wanted: int, short_for: float) -> float | None:
        """Write the status if it is due; return when it will be."""
        pods = self._waiting(pool.metadata.name)
        ready = sum(self.index.offered(pod.uid) for pod in pods)
        count = Count(
            desired=wanted,
            ready=ready,
            starting=len(pods) - ready,
            claimed=len(self._store.pods.group(serving_group(pool.metadata.name))),
            hits=memory.hits,
            misses=memory.misses,
            short_for=short_for,
            gave_way=memory.gave_way,
        )
        self._metrics.show_pool(pool.metadata.name, count)
        problem = next((found for pod in pods if (found := hopeless(pod) or stuck(pod))), memory.problem)
        status = status_of(pool, count, problem, now())
        if memory.written == (status, pool.status):  # an older CRD has dropped a part of it
            return None
        due = due_in(pool.status, status, memory.since_written())
        if due is None or due > 0:
            return due
        memory.wrote(status, await self._pods.tell(pool, status))
        return None
