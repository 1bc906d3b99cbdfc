"""All unfinished deliveries, and when each is due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from driftstack_common.kinds import WebhookDelivery
from driftstack_operator.webhooks.lanes import Key
from driftstack_operator.webhooks.schedule import due_in


class Plans:
    """Calls back when a delivery is due.

    Args:
        due: told each delivery whose time has come.
        clock: the time of day.
    """

    def __init__(self, due: Callable[[WebhookDelivery], None], clock: Callable[[], datetime]) -> None:
        self._due = due
        self._clock = clock
        self._deliveries: dict[Key, WebhookDelivery] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def __getitem__(self, key: Key) -> WebhookDelivery:
        return self._deliveries[key]

    def get(self, key: Key) -> WebhookDelivery | None:
        """Return a delivery that is not finished."""
        return self._deliveries.get(key)

    def all(self) -> list[WebhookDelivery]:
        """Return all that are not finished."""
        return list(self._deliveries.values())

    def know(self, delivery: WebhookDelivery) -> None:
        """Take in what a delivery is now, without a plan for it."""
        self._cancel(delivery.key)
        self._deliveries[delivery.key] = delivery

    def plan(self, delivery: WebhookDelivery) -> None:
        """Call back when it is due: now, or later."""
        self.know(delivery)
        wait = due_in(delivery, self._clock())
        if wait > 0:
            later = asyncio.get_running_loop().call_later
            self._timers[delivery.key] = later(wait, self._ring, delivery.key)
        else:
            self._due(delivery)

    def drop(self, key: Key) -> None:
        """Forget a delivery: it is finished, or gone."""
        self._cancel(key)
        self._deliveries.pop(key, None)

    def _ring(self, key: Key) -> None:
        del self._timers[key]
        self._due(self._deliveries[key])

    def _cancel(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
