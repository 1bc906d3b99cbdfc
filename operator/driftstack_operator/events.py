"""Kubernetes Events about sessions: what `kubectl describe` and `kubectl get events` show.

Best effort: they are posted beside the work, bounded, and dropped rather than waited for.
"""

from __future__ import annotations

import asyncio
from typing import Final, Literal
from uuid import uuid4

import msgspec

from driftstack_common.kube.client import EVENT, Body, KubeClient
from driftstack_common.kube.errors import KubeError
from driftstack_common.logging import get_logger
from driftstack_common.names import API_VERSION
from driftstack_common.times import format_time, now
from driftstack_operator.metrics import Metrics

LONGEST_QUEUE: Final = 1000
POSTERS: Final = 4
COMPONENT: Final = "driftstack-operator"

logger = get_logger(__name__)


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The object that an Event is about."""

    kind: str
    namespace: str
    name: str
    uid: str


class Recorder:
    """Takes Events in and posts them in the background.

    Args:
        kube: client to post with.
        metrics: counts what was dropped.
    """

    def __init__(self, kube: KubeClient, metrics: Metrics) -> None:
        self._kube = kube
        self._metrics = metrics
        self._queue: asyncio.Queue[Body] = asyncio.Queue(LONGEST_QUEUE)

    def post(self, about: Subject, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Have an Event posted soon; never blocks, never fails."""
        try:
            self._queue.put_nowait(build_event(about, kind, reason, message))
        except asyncio.QueueFull:
            self._metrics.events_dropped.inc()

    async def run(self) -> None:
        """Post until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(POSTERS):
                group.create_task(self._post(), name=f"event-poster-{number}")

    async def drain(self, timeout: float) -> None:
        """Wait until everything taken in is posted, or the time is over."""
        try:
            async with asyncio.timeout(timeout):
                await self._queue.join()
        except TimeoutError:
            self._metrics.events_dropped.inc(self._queue.qsize())

    async def _post(self) -> None:
        while True:
            body = await self._queue.get()
            try:
                await self._kube.create(EVENT, body["metadata"]["namespace"], body)
            except KubeError as error:
                self._metrics.events_dropped.inc()
                logger.debug("event dropped", reason=body["reason"], error=str(error))
            finally:
                self._queue.task_done()


def build_event(about: Subject, kind: str, reason: str, message: str) -> Body:
    """Return the Event object."""
    moment = format_time(now())
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{about.name[:220]}.{uuid4().hex[:16]}", "namespace": about.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        },
        "type": kind,
        "reason": reason,
        "message": message[:1024],
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": COMPONENT,
    }
