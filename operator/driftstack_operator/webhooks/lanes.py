"""The deliveries of one endpoint: which are due, which are in hand, and how many may be sent at once.

A receiver that is slow or dead holds up only its own: it gets fewer at once with each failure, and more with each
success.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from driftstack_common.kinds import WebhookDelivery, WebhookEndpoint

Key = tuple[str, str]
"""Namespace and name of a delivery."""

FIRST_LIMIT: Final = 4
MOST: Final = 16
"""Deliveries of one endpoint that are in hand at once: sent, or being written down. So many may be sent twice when
the process is killed."""
LAST: Final = datetime.max.replace(tzinfo=UTC)


class Due:
    """Deliveries to send now, the oldest event first.

    So those that have failed come to their end, and disable an endpoint that is dead, however many are new.
    """

    def __init__(self) -> None:
        self._moments: dict[Key, datetime] = {}
        self._order: list[tuple[datetime, Key]] = []

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, key: Key) -> bool:
        return key in self._moments

    def __iter__(self) -> Iterator[Key]:
        return (key for _, key in self._order)

    def add(self, delivery: WebhookDelivery, *, last: bool = False) -> None:
        """A delivery is due; fine when it was before. With `last`, behind all others."""
        if delivery.key not in self._moments:
            moment = LAST if last else delivery.spec.created_at
            self._moments[delivery.key] = moment
            insort(self._order, (moment, delivery.key))

    def discard(self, key: Key) -> None:
        """A delivery is no longer due; fine when it was not."""
        moment = self._moments.pop(key, None)
        if moment is not None:
            del self._order[bisect_left(self._order, (moment, key))]


class Lane:
    """One endpoint's.

    Attributes:
        endpoint: as last seen; None before.
        due: deliveries to send now.
        busy: deliveries that are being sent or whose outcome is being written.
        running: how many work on deliveries, one each, or wait for their turn to.
        blocked: why nothing can be sent now, though the endpoint wants it: its key is missing.
        slow: its last attempt took long (see turns), or one that is running does.
    """

    def __init__(self) -> None:
        self.endpoint: WebhookEndpoint | None = None
        self.due = Due()
        self.busy: set[Key] = set()
        self.running = 0
        self.blocked: str | None = None
        self.slow = False
        self._limit = FIRST_LIMIT

    @property
    def held(self) -> str | None:
        """Why its deliveries wait, for people; None when they are sent."""
        if self.endpoint is None:
            return "there is no such endpoint"
        return "the endpoint is paused" if self.endpoint.spec.paused else self.blocked

    @property
    def ended(self) -> str | None:
        """Why its deliveries are given up; None while the endpoint lives."""
        if self.endpoint is None or self.endpoint.live:
            return None
        return "the endpoint is disabled"

    @property
    def open(self) -> bool:
        """Whether its deliveries can be worked on: sent, or given up."""
        return self.ended is not None or self.held is None

    @property
    def room(self) -> int:
        """How many more may begin to work: those that wait for their turn have a delivery to come."""
        return max(0, min(self._limit, len(self.due) + len(self.busy)) - self.running)

    @property
    def crowded(self) -> bool:
        """Whether more are running than may."""
        return self.running > self._limit

    @property
    def idle(self) -> bool:
        """Whether nothing is in hand."""
        return not self.busy and not self.running

    def take(self, key: Key | None = None) -> Key:
        """Take a delivery that is due in hand; without a key, the first."""
        key = key or next(iter(self.due))
        self.due.discard(key)
        self.busy.add(key)
        return key

    def learn(self, *, arrived: bool, late: bool) -> None:
        """An attempt has ended; `late` when it took long."""
        self.slow = late
        self._limit = min(MOST, self._limit * 2) if arrived else max(1, self._limit // 2)
