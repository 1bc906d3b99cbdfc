"""One attempt, and what is told of it: in_flight while it lasts, figures and a log line later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from driftstack_common.kinds import DeliveryPhase, WebhookDelivery, WebhookEndpoint
from driftstack_common.logging import get_logger
from driftstack_common.times import now
from driftstack_operator.webhooks.endpoints import Endpoints
from driftstack_operator.webhooks.keys import SigningKeys
from driftstack_operator.webhooks.metrics import Metrics, outcome_of
from driftstack_operator.webhooks.outcomes import Outcomes
from driftstack_operator.webhooks.schedule import Answer, Status, after, in_flight
from driftstack_operator.webhooks.sender import Sender
from driftstack_operator.webhooks.turns import LATE, Turn

logger = get_logger(__name__)


class Attempts:
    """Makes attempts.

    Args:
        sender, keys: what they are made with.
        outcomes: reads bodies that are not kept, and says that an attempt takes long.
        endpoints, metrics: told what came of each.
        clock: the time of day.
    """

    def __init__(
        self,
        sender: Sender,
        keys: SigningKeys,
        outcomes: Outcomes,
        endpoints: Endpoints,
        metrics: Metrics,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._sender = sender
        self._keys = keys
        self._outcomes = outcomes
        self._endpoints = endpoints
        self._metrics = metrics
        self._clock = clock

    async def make(self, turn: Turn, endpoint: WebhookEndpoint, delivery: WebhookDelivery) -> Status:
        """Make an attempt; return the status that follows.

        Raises:
            NoKey, KubeError: there is nothing to sign with, or to send; nothing was sent.
        """
        begun = self._clock()
        keys = await self._keys.of(endpoint, begun)
        whole = await self._outcomes.whole(delivery)
        marking = asyncio.create_task(self._mark(turn, delivery))
        try:
            with self._metrics.attempt_seconds.time():
                answer = await self._sender.send(endpoint.spec.url, whole, keys)
        finally:
            marking.cancel()
            await asyncio.wait([marking])  # the outcome must be the later write
        status = after(delivery, answer, begun, self._clock())
        turn.lane.learn(arrived=answer.error is None, late=turn.late)
        self._tell(endpoint, delivery, answer, status)
        return status

    def forgo(self, endpoint: WebhookEndpoint) -> None:
        """A delivery is given up without an attempt."""
        self._metrics.finished.labels(DeliveryPhase.DLQ.value).inc()
        self._endpoints.abandoned(endpoint)

    async def _mark(self, turn: Turn, delivery: WebhookDelivery) -> None:
        """Say so once the attempt is late; a quicker one costs one write."""
        await asyncio.sleep(LATE)
        turn.overrun()
        await self._outcomes.say(delivery, in_flight(self._clock()))

    def _tell(self, endpoint: WebhookEndpoint, delivery: WebhookDelivery, answer: Answer, status: Status) -> None:
        arrived, phase = answer.error is None, status["phase"]
        last = phase == DeliveryPhase.DLQ
        self._metrics.attempts.labels(outcome_of(answer)).inc()
        if arrived or last:
            self._metrics.finished.labels(phase).inc()
        self._endpoints.attempted(endpoint, arrived=arrived, last=last)
        if not arrived:
            logger.info(
                "attempt failed",
                namespace=delivery.metadata.namespace,
                delivery=delivery.metadata.name,
                endpoint=endpoint.metadata.name,
                attempt=status["attempts"],
                error=answer.error,
                given_up=last,
            )
