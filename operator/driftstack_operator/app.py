"""The operator put together: what feeds the store, what works on it, and how all of it starts and stops.

kopf only watches. It would cancel tasks it doesn't know when it stops, so everything of ours is started before it
and stopped before it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from driftstack_common.agent_client import AgentClient, open_session
from driftstack_common.agent_token import KeyRing
from driftstack_common.failpoints import Failpoints, WritePoints
from driftstack_common.kinds import Session
from driftstack_common.kube.client import KubeClient
from driftstack_common.logging import get_logger
from driftstack_operator.accounts.quotas import WRONG_FOR
from driftstack_operator.accounts.reconcile import Accounts
from driftstack_operator.events import Recorder
from driftstack_operator.handlers import SLOWEST
from driftstack_operator.health import Health
from driftstack_operator.intake import Intake
from driftstack_operator.metrics import Metrics
from driftstack_operator.probes import Probes
from driftstack_operator.retention import Retention
from driftstack_operator.sessions.lifecycle import Sessions
from driftstack_operator.sessions.sight import account_name
from driftstack_operator.settings import Settings
from driftstack_operator.store import Store
from driftstack_operator.streams import Streams
from driftstack_operator.sweep import Sweep
from driftstack_operator.watching import WATCHED, Watching
from driftstack_operator.workqueue import WorkQueue

STOP_SECONDS: Final = 8.0
"""Time for what is in hand when the operator is told to stop; every act could also be cut off."""

SESSION: Final = "session"
ACCOUNT: Final = "account"
QUOTA: Final = "quota"
QueueKey = tuple[str, str]
"""What to reconcile: the kind, and a session's uid or an account's name."""

logger = get_logger(__name__)


class Operator:
    """All parts, wired; `run` works until `stop` is called or a part fails.

    Args:
        kube: client of the API server.
        agents: client of the agents.
        keys: makes the agents' tokens.
        settings: everything that can be set.
        failpoints: what a test may arm; None outside tests.
    """

    def __init__(
        self,
        kube: KubeClient,
        agents: AgentClient,
        keys: KeyRing,
        settings: Settings,
        failpoints: Failpoints | None = None,
    ) -> None:
        if failpoints is not None:
            kube = kube.guarded(WritePoints(failpoints))
        self.settings = settings
        self.store = Store()
        self.metrics = Metrics()
        self.health = Health()
        self.queue: WorkQueue[QueueKey] = WorkQueue(
            self._reconcile, workers=settings.workers, on_retry=self.metrics.queue_retries.inc
        )
        self.recorder = Recorder(kube, self.metrics)
        self.accounts = Accounts(kube, self.store, settings)
        self.sessions = Sessions(
            kube=kube,
            agents=agents,
            store=self.store,
            keys=keys,
            settings=settings,
            recorder=self.recorder,
            metrics=self.metrics,
            answered=self.touch_session,
            gone=self.session_gone,
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
        self.metrics.live.set_function(lambda: len(self.store.sessions))
        self._stop = asyncio.Event()
        self._primed = asyncio.Event()

    # -- what observers call

    def touch_session(self, uid: str) -> None:
        """Have a session reconciled."""
        self.queue.add((SESSION, uid))

    def touch_account(self, name: str) -> None:
        """Have an account and its quota reconciled."""
        self.queue.add((ACCOUNT, name))

    def touch_quota(self, name: str) -> None:
        """Have an account's quota compared with its sessions."""
        self.queue.add((QUOTA, name))

    def session_gone(self, session: Session) -> None:
        """A session's object is gone: what remains of it is removed, and its slot is free."""
        self.touch_session(session.uid)
        self.touch_waiting(session.metadata.namespace or "")
        name = account_name(session.metadata.namespace)
        account = self.store.accounts.get("", name)
        if account is not None and account.metadata.deletion_timestamp is not None:
            self.touch_account(name)
        elif account is not None:
            self.queue.add_after((QUOTA, name), WRONG_FOR)

    def touch_waiting(self, namespace: str | None = None) -> None:
        """Have the sessions that have not started reconciled: what they wait for may be there."""
        group = self.store.sessions.group(namespace) if namespace is not None else None
        sessions = group.values() if group is not None else self.store.sessions.values()
        for session in list(sessions):
            if not self.sessions.sight.started(session.uid, session):
                self.touch_session(session.uid)

    # -- life

    def stop(self) -> None:
        """Stop cleanly; `run` returns soon after."""
        self._stop.set()

    def take_signals(self) -> None:
        """Have SIGTERM and SIGINT stop the operator."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

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
                logger.info("operator works", sessions=len(self.store.sessions), pods=len(self.store.pods))
            await self._stop.wait()

    @asynccontextmanager
    async def _background(self) -> AsyncIterator[None]:
        """Run everything that works beside the watches; a part that fails stops the operator."""
        parts = {
            "queue": self._work(),
            "sweep": self.sweep.run(),
            "retention": self._retention.run(),
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
        self.queue.close()
        await self.sessions.close()
        if self._primed.is_set():  # the queue's workers end by themselves
            await asyncio.wait(tasks[:1], timeout=STOP_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _work(self) -> None:
        """Decide nothing before the first LISTs are complete."""
        await self._primed.wait()
        await self.queue.run()

    async def _reconcile(self, key: QueueKey) -> float | None:
        kind, name = key
        if kind == SESSION:
            return await self.sessions.reconcile(name)
        if kind == ACCOUNT:
            return await self.accounts.reconcile(name)
        return await self.accounts.check_quota(name)


async def run(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT."""
    keys = KeyRing.load(settings.agent_keys)
    kube = await KubeClient.connect(settings.kubeconfig, timeout=SLOWEST)
    failpoints = Failpoints() if settings.failpoints else None
    try:
        async with open_session() as session:
            agents = AgentClient(session)
            if failpoints is not None:
                agents = agents.guarded(WritePoints(failpoints))
            operator = Operator(kube, agents, keys, settings, failpoints)
            operator.take_signals()
            await operator.run()
    finally:
        await kube.close()
