"""The dispatcher put together: copies of endpoints and deliveries, shards, and the courier that sends."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Final

from driftstack_common.kinds import WebhookDelivery, WebhookEndpoint
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.pages import SMALL_PAGE
from driftstack_common.kube.reflector import Reflector, Timing
from driftstack_common.logging import get_logger
from driftstack_operator.probes import Probes
from driftstack_operator.signals import take_signals
from driftstack_operator.webhooks.attempts import Attempts
from driftstack_operator.webhooks.courier import Courier
from driftstack_operator.webhooks.endpoints import Endpoints
from driftstack_operator.webhooks.health import Health
from driftstack_operator.webhooks.keys import SigningKeys
from driftstack_operator.webhooks.metrics import Metrics
from driftstack_operator.webhooks.outcomes import Outcomes, lean
from driftstack_operator.webhooks.sender import ATTEMPT_SECONDS, Sender
from driftstack_operator.webhooks.settings import Settings
from driftstack_operator.webhooks.shards import Shards

STOP_SECONDS: Final = ATTEMPT_SECONDS + 5.0
"""Time for what is in hand when told to stop: an attempt, and to write its outcome."""
GLANCE: Final = 0.05

logger = get_logger(__name__)


class Dispatcher:
    """All parts, wired; `run` works until `stop` is called or a part fails.

    Args:
        kube: client of the API server.
        settings: everything that can be set.
        sender: makes the attempts.
        identity: name of this process, the same after a restart in its pod.
    """

    def __init__(self, kube: KubeClient, settings: Settings, sender: Sender, identity: str | None = None) -> None:
        self.metrics = Metrics()
        self._endpoint_copy = Reflector(
            kube,
            WebhookEndpoint,
            stored=lambda _, new: self._endpoint_seen(new),
            removed=lambda old: self._endpoint_gone(old.metadata.uid),
        )
        self._delivery_copy = Reflector(
            kube,
            WebhookDelivery,
            timing=Timing(page=SMALL_PAGE),
            keep=lean,
            stored=lambda _, new: self.courier.delivery_seen(new),
            removed=lambda old: self.courier.delivery_gone(old),
        )
        self._copies = (self._endpoint_copy, self._delivery_copy)
        self.shards = Shards(
            kube,
            namespace=settings.system_namespace,
            identity=identity or socket.gethostname(),
            replicas=settings.replicas,
            proven=self._proven,
            opened=self._opened,
            drained=lambda mine: self.courier.drained(mine),
            settled=lambda: self.endpoints.flush(),
        )
        keys, outcomes = SigningKeys(kube), Outcomes(kube)
        self.endpoints = Endpoints(
            kube, keys, settings.rules, owns=self.shards.owns, changed=lambda new: self.courier.endpoint_seen(new)
        )
        self.courier = Courier(
            attempts=Attempts(sender, keys, outcomes, self.endpoints, self.metrics),
            outcomes=outcomes,
            endpoints=self.endpoints,
            sends=self.shards.sends,
            longest=timedelta(days=settings.waiting_days),
        )
        self._probes = Probes(Health(self._copies), self.metrics, settings)
        self.metrics.show(self.courier.depth, self.courier.oldest)
        self.metrics.shards.set_function(lambda: self.shards.held)
        for copy in self._copies:
            self.metrics.watch_age.labels(copy.name).set_function(partial(getattr, copy, "age"))
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Stop cleanly; `run` returns soon after."""
        self._stop.set()

    async def run(self) -> None:
        """Work until stopped.

        Raises:
            ExceptionGroup: a part failed; the process should end and be started again.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._probes.serving())
            async with asyncio.TaskGroup() as group:
                parts = [
                    *(copy.run() for copy in self._copies),
                    self.courier.run(),
                    self.endpoints.run(),
                ]
                tasks = [group.create_task(part) for part in parts]
                shards = group.create_task(self.shards.run())
                await self._stop.wait()
                await self._wind_down()
                for task in (shards, *tasks):
                    task.cancel()

    async def _wind_down(self) -> None:
        """Finish what is in hand, and give the shards back."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.shards.stop()
        except TimeoutError:
            logger.warning("stopped with attempts in hand: they may be repeated")

    # -- what is observed

    def _endpoint_seen(self, endpoint: WebhookEndpoint) -> None:
        self.endpoints.seen(endpoint)
        self.courier.endpoint_seen(endpoint)

    def _endpoint_gone(self, uid: str) -> None:
        self.endpoints.gone(uid)
        self.courier.endpoint_gone(uid)

    async def _proven(self) -> None:
        """Wait until the copies have all that was stored by now: what another dispatcher has sent is known then."""
        begun = time.monotonic()
        while any(copy.age > time.monotonic() - begun for copy in self._copies):  # noqa: ASYNC110
            await asyncio.sleep(GLANCE)  # an age changes by itself: nobody could set an event

    def _opened(self) -> None:
        self.endpoints.look_at_all()
        self.courier.wake_all()


async def run(settings: Settings) -> None:
    """Run the dispatcher until SIGTERM or SIGINT."""
    kube = await KubeClient.connect(settings.kubeconfig)
    sender = Sender(settings.rules)
    try:
        dispatcher = Dispatcher(kube, settings, sender)
        take_signals(dispatcher.stop)
        await dispatcher.run()
    finally:
        await sender.close()
        await kube.close()
