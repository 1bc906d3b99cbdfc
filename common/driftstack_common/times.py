"""Timestamps as the API shows them (RFC 3339, UTC, milliseconds, `Z`), and the time of day that all parts agree on.

Ages are differences between our time and stamps of the API server. On a machine whose clock is an hour off, every
session would be an hour old at birth; so our clock is set right by what the API server says in its answers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final


class ServerClock:
    """The time of day by the API server's clock, as far as its answers tell; until then by our own.

    Answers carry whole seconds. Each one says between which bounds the server is ahead of us; together they soon
    say it to a few milliseconds. Our own time stands as long as it is within the bounds.

    Args:
        own: our own clock, seconds since 1970.
    """

    def __init__(self, own: Callable[[], float] = time.time) -> None:
        self._own = own
        self._least, self._most = -math.inf, math.inf

    @property
    def ahead(self) -> float:
        """Seconds that the server is ahead of us; 0 unless it must be."""
        return 0.0 if self._least <= 0.0 <= self._most else (self._least + self._most) / 2

    @property
    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        return datetime.fromtimestamp(self._own(), UTC) + timedelta(seconds=self.ahead)

    def learn(self, date: str | None, sent: float, received: float) -> None:
        """Take in an answer's Date header, with our own times of the request and its answer."""
        stamp = _seconds(date)
        if stamp is None:
            return
        least, most = stamp - received, stamp + 1.0 - sent
        if least > self._most or most < self._least:  # a clock was set: what was known of it is no longer true
            self._least, self._most = least, most
        self._least, self._most = max(self._least, least), min(self._most, most)


CLOCK: Final = ServerClock()
"""The process's; every client of the API server teaches it."""


def now() -> datetime:
    """Return the current time, aware, in UTC, by the API server's clock (see ServerClock)."""
    return CLOCK.now


def format_time(moment: datetime) -> str:
    """Return `2026-05-12T12:00:00.000Z`."""
    return _in_utc(moment).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Return the aware time of an RFC 3339 text; ValueError when it is none."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return _in_utc(moment)


def _in_utc(moment: datetime) -> datetime:
    """Return the time in UTC; the first or last there is when that lies outside the calendar."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return (datetime.max if moment.year > 1 else datetime.min).replace(tzinfo=UTC)


def _seconds(date: str | None) -> float | None:
    """Return an HTTP date as seconds since 1970; None when it is none."""
    from email.utils import parsedate_to_datetime  # 20 modules, and the agent reads no HTTP dates

    try:
        return parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None
