"""The writes of a pool: its pods, and its status."""

from __future__ import annotations

import asyncio

from driftstack_common.agent_token import KeyRing
from driftstack_common.kinds import Pool, PoolStatus, from_body
from driftstack_common.kube.client import POD, Body, KubeClient
from driftstack_common.kube.errors import AlreadyExists, Conflict, KubeError, NotFound, Unreachable
from driftstack_common.logging import get_logger
from driftstack_common.names import warm_pod_name
from driftstack_operator.metrics import Metrics
from driftstack_operator.pods.builder import build_warm_pod, template_of
from driftstack_operator.pods.view import PodView
from driftstack_operator.pools.memory import Memory
from driftstack_operator.pools.plan import Cause
from driftstack_operator.pools.status import body_of
from driftstack_operator.reasons import Reason, end
from driftstack_operator.settings import Settings
from driftstack_operator.store import Store

logger = get_logger(__name__)


class PoolPods:
    """Writes what a pool needs.

    Args:
        kube: client to write with.
        store: learns what each write answered.
        keys: makes the agents' tokens.
        settings: namespaces, and how images are pulled.
        metrics: told what was done.
    """

    def __init__(self, kube: KubeClient, store: Store, keys: KeyRing, settings: Settings, metrics: Metrics) -> None:
        self._kube = kube
        self._store = store
        self._keys = keys
        self._settings = settings
        self._metrics = metrics

    def template(self, pool: Pool) -> str:
        """Return the hash of what the pool's pods are made from today."""
        return template_of(pool, self._keys.current, self._settings.image_pull_policy)

    async def create(self, pool: Pool, memory: Memory, count: int) -> None:
        """Start so many warm pods; what refuses one is remembered as the pool's problem.

        Raises:
            Unreachable: one may be there, or not: the next try is for a pod of the same name. All others have
                ended by then, before the pool is looked at again.
        """
        pods = (self._create_one(pool, memory) for _ in range(count))
        for result in await asyncio.gather(*pods, return_exceptions=True):
            if result is not None:
                raise result

    async def _create_one(self, pool: Pool, memory: Memory) -> None:
        name = memory.unanswered.pop() if memory.unanswered else warm_pod_name()
        body = build_warm_pod(
            pool,
            name,
            token=self._keys.token(name),
            token_key=self._keys.current,
            image_pull_policy=self._settings.image_pull_policy,
        )
        memory.created(name)
        try:
            self._store.pods.apply(await self._create(body))
        except Unreachable:
            memory.unanswered.add(name)
            raise
        except KubeError as error:
            memory.failed(name, end(Reason.START_FAILED, f"a warm pod could not be created: {error.message}"))
            return
        self._metrics.pool_started.labels(pool.metadata.name).inc()

    async def _create(self, body: Body) -> Body:
        meta = body["metadata"]
        try:
            return await self._kube.create(POD, meta["namespace"], body)
        except AlreadyExists:  # made by a request whose answer was lost
            return await self._kube.get(POD, meta["namespace"], meta["name"])

    async def delete(self, pod: PodView, cause: Cause, *, lost: bool) -> bool:
        """Delete a pod as it is known: one that has been taken meanwhile is another version, and stays.

        Args:
            lost: its node is, so that nobody is there to stop it gently.

        Returns:
            Whether it goes.
        """
        grace = 0 if lost else None
        try:
            answer = await self._kube.delete(
                POD, pod.namespace, pod.name, uid=pod.uid, version=pod.version, grace_seconds=grace
            )
        except NotFound:
            self._store.pods.remove(pod.uid)
            return True
        except Conflict:  # the watch brings what it is now
            return False
        if answer.get("kind") == POD.name:
            self._store.pods.apply(answer)
        logger.info("warm pod removed", pod=pod.name, pool=pod.pool, cause=cause.value)
        self._metrics.pool_removed.labels(pod.pool, cause.value).inc()
        return True

    async def tell(self, pool: Pool, status: PoolStatus) -> PoolStatus | None:
        """Write the pool's status; return what the API server has made of it, None if the pool is another now."""
        meta = pool.metadata
        patch = {"metadata": {"uid": meta.uid}, "status": body_of(status)}
        try:
            stored = await self._kube.merge_patch(Pool.KIND, meta.namespace, meta.name, patch, "status")
        except (NotFound, Conflict):  # it has gone, or another has its name
            return None
        self._store.pools.apply(stored)
        return from_body(Pool, stored).status
