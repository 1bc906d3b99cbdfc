"""The operator put together: what feeds the store, what works on it, and how all of it starts and stops.

All that observes runs from start to end. What decides and writes runs in terms, while this process holds the Lease.

kopf only watches. It would cancel tasks it doesn't know when it stops, so all of ours is stopped before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from driftstack_common.agent_client import AgentClient, open_session
from driftstack_common.agent_token import KeyRing
from driftstack_common.failpoints import Failpoints, WritePoints
from driftstack_common.guard import Guard, Guards
from driftstack_common.kinds import Session
from driftstack_common.kube.client import KubeClient
from driftstack_common.logging import get_logger
from driftstack_operator.accounts.keys import Keys
from driftstack_operator.accounts.reconcile import Accounts
from driftstack_operator.events import Recorder
from driftstack_operator.handlers import SLOWEST
from driftstack_operator.health import Health
from driftstack_operator.intake import Intake
from driftstack_operator.leadership.elector import Elector
from driftstack_operator.leadership.lease import own_identity
from driftstack_operator.leadership.terms import Terms
from driftstack_operator.metrics import Metrics
from driftstack_operator.pools.reconcile import Pools
from driftstack_operator.probes import Probes
from driftstack_operator.retention import Retention
from driftstack_operator.sessions.lifecycle import Sessions
from driftstack_operator.sessions.references import account_name
from driftstack_operator.settings import Settings
from driftstack_operator.signals import take_signals
from driftstack_operator.store import Store
from driftstack_operator.streams import Streams
from driftstack_operator.sweep import Sweep
from driftstack_operator.watching import WATCHED, Watching
from driftstack_operator.webhooks.outbox import Outbox
from driftstack_operator.workqueue import WorkQueue

STOP_SECONDS: Final = 3.0
"""Time to finish what is in hand and to give the lease back; both have their own limits, well below it."""

SESSION: Final = "session"
ACCOUNT: Final = "account"
LIMITS: Final = "limits"
KEY: Final = "key"
POOL: Final = "pool"
ENDPOINT: Final = "endpoint"
QueueKey = tuple[str, str]
"""What to reconcile: the kind, and a session's uid, an account's or pool's name, or `namespace/name` of a key or
endpoint."""
POOLS_LANE: Final = "/pools"
KEYS_LANE: Final = "/keys"
"""Keys and endpoints of all accounts share a turn: after an upgrade all of them may wait, and can wait."""

logger = get_logger(__name__)


class Operator:
    """All parts, wired; `run` works until `stop` is called or a part fails.

    Args:
        kube: client of the API server.
        agents: client of the agents.
        keys: makes the agents' tokens.
        settings: everything that can be set.
        failpoints: what a test may arm; None outside tests.
        elector: candidate for the lease; None makes one.
    """

    def __init__(
        self,
        kube: KubeClient,
        agents: AgentClient,
        keys: KeyRing,
        settings: Settings,
        failpoints: Failpoints | None = None,
        elector: Elector | None = None,
    ) -> None:
        self.elector = elector or Elector(
            kube,
            namespace=settings.system_namespace,
            identity=own_identity(),
            seconds=settings.lease_seconds,
        )
        kube, agents = self._fence(kube, agents, failpoints)
        self._kube = kube
        self.settings = settings
        self.store = Store()
        self.metrics = Metrics()
        self.health = Health()
        self.queue = self._new_queue()
        self.queue.close()  # until the first term
        self.recorder = Recorder(kube, self.metrics)
        self.accounts = Accounts(kube, self.store, settings)
        self.outbox = self._new_outbox()
        self.keys = self._new_keys()
        self.pools = Pools(
            kube=kube,
            agents=agents,
            store=self.store,
            keys=keys,
            settings=settings,
            metrics=self.metrics,
            touch_pool=self.touch_pool,
            touch_session=self.touch_session,
        )
        self.sessions = Sessions(
            kube=kube,
            agents=agents,
            store=self.store,
            keys=keys,
            settings=settings,
            recorder=self.recorder,
            metrics=self.metrics,
            pools=self.pools,
            answered=self.touch_session,
            gone=self.session_gone,
            outbox=lambda: self.outbox,
        )
        self.intake = Intake(self.store, self.sessions.tracks, self)
        self.sweep = Sweep(
            kube=kube,
            store=self.store,
            tracks=self.sessions.tracks,
            intake=self.intake,
            touch=self,
            health=self.health,
            metrics=self.metrics,
            settings=settings,
        )
        self._retention = Retention(kube, settings, self.metrics)
        self._probes = Probes(self.health, self.metrics, settings, failpoints)
        self.streams = self.health.streams = Streams(WATCHED, settings.watch_seconds, self.sweep.repair)
        self.metrics.show_streams(self.streams)
        self._watching = Watching(kube, self.intake, settings, self.take_signals, self.streams)
        self.metrics.queue_depth.set_function(lambda: self.queue.depth)
        self.metrics.leading.set_function(lambda: float(self.elector.leads))
        self.metrics.live.set_function(lambda: len(self.store.sessions) if self.elector.leads else 0)
        self._terms = Terms(self.elector, self)
        self._stop = asyncio.Event()
        self._primed = asyncio.Event()

    def _fence(
        self, kube: KubeClient, agents: AgentClient, failpoints: Failpoints | None
    ) -> tuple[KubeClient, AgentClient]:
        """Return clients that write for a leader only; who is frozen at a failpoint is asked when it wakes."""
        points: list[Guard] = [] if failpoints is None else [WritePoints(failpoints)]
        guard = Guards(*points, self.elector)
        return kube.guarded(guard), agents.guarded(guard)

    def _new_queue(self) -> WorkQueue[QueueKey]:
        return WorkQueue(
            self._reconcile,
            workers=self.settings.workers,
            lane_of=self._account_of,
            share=max(1, self.settings.workers // 2),
            on_retry=self.metrics.queue_retries.inc,
        )

    def _new_keys(self) -> Keys:
        return Keys(self._kube, lambda name: self.queue.add((KEY, name)), self.outbox.tell)

    def _new_outbox(self) -> Outbox:
        return Outbox(self._kube, lambda name: self.queue.add((ENDPOINT, name)), enabled=self.settings.webhooks)

    def _account_of(self, key: QueueKey) -> str:
        """Return the account whose turn a key takes; sessions that are gone share one."""
        kind, name = key
        if kind in (KEY, ENDPOINT):
            return KEYS_LANE
        if kind == POOL:
            return POOLS_LANE
        if kind != SESSION:
            return name
        session = self.store.sessions.by_uid(name)
        return account_name(session.metadata.namespace) if session is not None else ""

    # -- what observers call; a standby's queue is closed, and takes nothing in

    def touch_session(self, uid: str) -> None:
        """Have a session reconciled."""
        self.queue.add((SESSION, uid))

    def touch_account(self, name: str) -> None:
        """Have an account and all that it has reconciled."""
        self.queue.add((ACCOUNT, name))

    def touch_limits(self, name: str) -> None:
        """Have an account's quota compared with its sessions, and its bindings with its members."""
        self.queue.add((LIMITS, name))

    def touch_pool(self, name: str) -> None:
        """Have a pool's warm pods compared with what it wants."""
        self.queue.add((POOL, name))

    def session_gone(self, session: Session) -> None:
        """A session's object is gone: what remains of it is removed, and its slot is free."""
        if self.queue.closed:
            self.sessions.tracks.drop(session.uid)
            return
        self.touch_session(session.uid)
        self.touch_waiting(session.metadata.namespace or "")
        name = account_name(session.metadata.namespace)
        account = self.store.accounts.get("", name)
        if account is not None and account.metadata.deletion_timestamp is not None:
            self.touch_account(name)
        elif account is not None:
            self.touch_limits(name)

    def touch_waiting(self, namespace: str = "") -> None:
        """Have sessions reconciled that have not started, of a namespace or all: they may go on now."""
        if self.queue.closed:
            return
        for session in list(self.store.starting(namespace).values()):
            if not self.sessions.sight.started(session.uid, session):
                self.touch_session(session.uid)

    # -- the office of a leader (see Terms)

    def begin(self) -> None:
        """Begin a term."""
        self.metrics.terms.inc()
        self.queue = self._new_queue()
        self.accounts = Accounts(self._kube, self.store, self.settings)
        self.outbox = self._new_outbox()
        self.keys = self._new_keys()
        self.pools.begin()

    async def work(self) -> None:
        """Decide by what is there now, and not before all of it is known; until cancelled or closed."""
        await self.sweep.prime(self._stop)
        if self._stop.is_set():
            return
        await self.pools.ask_all()
        logger.info("operator works", sessions=len(self.store.sessions), pods=len(self.store.pods))
        async with asyncio.TaskGroup() as group:
            parts = {"retention": self._retention.run(), "keys": self.keys.run(), "outbox": self.outbox.run()}
            tasks = [group.create_task(part, name=name) for name, part in parts.items()]
            await self.queue.run()
            for task in tasks:
                task.cancel()

    async def close(self) -> None:
        """Begin nothing new."""
        self.queue.close()
        await self.sessions.close()
        await self.pools.close()

    async def end(self) -> None:
        """End a term: what it had in mind is forgotten, what was observed is not."""
        await self.close()
        self.sessions.tracks.clear()
        for session in self.store.sessions.values():
            self.intake.session_seen(session)

    # -- life

    def stop(self) -> None:
        """Stop cleanly; `run` returns soon after."""
        self._stop.set()

    def take_signals(self) -> None:
        """Have SIGTERM and SIGINT stop the operator."""
        take_signals(self.stop)

    async def run(self) -> None:
        """Work until stopped.

        Raises:
            ExceptionGroup: a part failed; the process should end and be started again.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._watching.stop)  # the last to stop
            await stack.enter_async_context(self._probes.serving())
            await stack.enter_async_context(self._background())
            await self.sweep.prime(self._stop)
            if not self._stop.is_set():
                self._primed.set()
                self.health.primed = True
                self._watching.start(ended=self.stop)
            await self._stop.wait()

    @asynccontextmanager
    async def _background(self) -> AsyncIterator[None]:
        """Run everything that works beside the watches; a part that fails stops the operator."""
        parts = {
            "terms": self._lead(),
            "sweep": self.sweep.run(),
            "lag": self.health.measure_lag(self.metrics),
        }
        tasks = [asyncio.create_task(self._part(name, part), name=name) for name, part in parts.items()]
        try:
            yield
        finally:
            await self._wind_down(tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _part(self, name: str, part: object) -> None:
        try:
            await part  # type: ignore[misc] # a coroutine of ours
        finally:
            if not self._stop.is_set():
                logger.error("a part of the operator ended", part=name)
                self.stop()

    async def _wind_down(self, tasks: list[asyncio.Task[None]]) -> None:
        self._stop.set()
        if self._primed.is_set():  # the term ends by itself
            await asyncio.wait(tasks[:1], timeout=STOP_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _lead(self) -> None:
        """Stand for leader only as one who could lead at once."""
        await self._primed.wait()
        await self._terms.run(self._stop)

    async def _reconcile(self, key: QueueKey) -> float | None:
        kind, name = key
        if kind == SESSION:
            return await self.sessions.reconcile(name)
        if kind == ACCOUNT:
            return await self.accounts.reconcile(name)
        if kind == LIMITS:
            return await self.accounts.check(name)
        if kind == POOL:
            return await self.pools.reconcile(name)
        await (self.keys if kind == KEY else self.outbox).reconcile(name)
        return None


async def run(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT."""
    keys = KeyRing.load(settings.agent_keys)
    kube = await KubeClient.connect(settings.kubeconfig, timeout=SLOWEST)
    failpoints = Failpoints() if settings.failpoints else None
    try:
        async with open_session() as session:
            operator = Operator(kube, AgentClient(session), keys, settings, failpoints)
            operator.take_signals()
            await operator.run()
    finally:
        await kube.close()
