"""Spans and moments: as people type them, and as tables show them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from driftstack_common.times import parse_time

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN: Final = re.compile(r"(\d{1,9})([smhdw])")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_STEPS: Final = ((365 * 86400, "y"), (86400, "d"), (3600, "h"), (60, "m"))


def parse_span(text: str) -> timedelta:
    """Return the span of `90s`, `15m`, `12h`, `30d`, `2w`, or of parts like `1h30m`; raise ValueError."""
    parts = _SPAN.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no span of time: write 90s, 15m, 12h, 30d or 1h30m")
    try:
        return sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta())
    except OverflowError:
        raise ValueError(f"{text!r} is too long") from None


def parse_moment(text: str, now: datetime) -> datetime:
    """Return the moment that `30d` (from now), `2027-01-31` (its beginning, UTC) or an RFC 3339 time means.

    Raises:
        ValueError: it is none of these, or not after now.
    """
    try:
        if _SPAN.fullmatch(text[-2:]):
            moment = now + parse_span(text)
        else:
            moment = parse_time(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no time: write 30d, 2027-01-31 or 2027-01-31T12:00:00Z ({error})") from error
    if moment <= now:
        raise ValueError(f"{text!r} is in the past")
    return moment


def age(moment: datetime, now: datetime) -> str:
    """Return how long ago that was, in its largest unit: `3m`; clocks that differ make it `0s`, never negative."""
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in _STEPS:
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def local(moment: datetime) -> str:
    """Return the time on the user's own clock, to the minute: `2027-01-31 13:00 CET`."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M %Z")


def utcnow() -> datetime:
    """Return the time of this machine, for ages alone: what is stored goes by the API server's."""
    return datetime.now(UTC)
