"""Runs kopf: two operators of it in one event loop, because one watches either all namespaces or given ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final

import kopf

from driftstack_common.kinds import Account, Archetype, Pool, Session
from driftstack_common.kube.client import BINDING, NODE, POD, QUOTA, KubeClient
from driftstack_common.logging import get_logger
from driftstack_operator.handlers import Handlers, browser_handlers, cluster_handlers, registry_of
from driftstack_operator.intake import Intake
from driftstack_operator.settings import Settings
from driftstack_operator.streams import Streams

STOP_SECONDS: Final = 5.0
WATCHED: Final = tuple(
    kind.plural for kind in (Session.KIND, Account.KIND, Archetype.KIND, Pool.KIND, POD, QUOTA, BINDING, NODE)
)
"""The kinds that are watched, by plural (see handlers)."""

logger = get_logger(__name__)


class Watching:
    """The watches.

    Args:
        kube: whose credentials they use.
        intake: told of every event.
        settings: the browser namespace, and how long a watch lasts.
        take_signals: installs the process's own signal handlers.
        streams: observes the watches.
    """

    def __init__(
        self,
        kube: KubeClient,
        intake: Intake,
        settings: Settings,
        take_signals: Callable[[], None],
        streams: Streams,
    ) -> None:
        self._kube = kube
        self._intake = intake
        self._settings = settings
        self._take_signals = take_signals
        self._streams = streams
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, ended: Callable[[], None]) -> None:
        """Begin to watch; `ended` is called when that stops for whatever reason."""
        self._streams.begin()
        self._task = asyncio.create_task(self._run(), name="watching")
        self._task.add_done_callback(lambda _: ended())

    async def stop(self) -> None:
        """Watch no more. Call it after everything else has stopped: kopf cancels tasks that it doesn't know.

        Raises:
            Exception: kopf's own, if one of its tasks had failed; the process can't go on without it.
        """
        if self._task is None:
            return
        self._stop.set()
        done, _ = await asyncio.wait([self._task], timeout=STOP_SECONDS)
        if not done:
            logger.warning("kopf does not stop: cancelled")
            self._task.cancel()
            await asyncio.wait([self._task])
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error

    async def _run(self) -> None:
        others = asyncio.all_tasks()
        everywhere = await self._spawn(cluster_handlers(self._intake), clusterwide=True)
        browsers = await self._spawn(browser_handlers(self._intake), namespaces=[self._settings.browser_namespace])
        self._take_signals()  # kopf has just taken them
        await kopf.run_tasks([*everywhere, *browsers], ignored=others)

    async def _spawn(self, handlers: Handlers, **where: Any) -> Collection[asyncio.Task[Any]]:
        registry = registry_of(handlers, self._kube, self._streams.observe, self._settings.watch_seconds)
        # A task of its own, because kopf keeps its credentials and settings in context variables.
        tasks: Collection[asyncio.Task[Any]] = await asyncio.create_task(
            kopf.spawn_tasks(registry=registry, standalone=True, stop_flag=self._stop, **where)
        )
        return tasks
