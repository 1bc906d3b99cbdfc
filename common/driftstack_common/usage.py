"""What sessions use, by UTC day: minutes and steps, and their sums. Pure.

A session's minutes run from its creation to its end, if it became ready at all. They are split at midnight, and
each session's part of a day is rounded up. So the order in which days and sessions are added up does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import msgspec

from driftstack_common.kinds import DayUsage, RecordSpec, StepCounts
from driftstack_common.times import parse_time

MOST_STEPS: Final = 20_000_000
"""More than a browser can do of one kind in a day: what an agent says beyond is not true."""
MOST_DAYS: Final = 14
"""Days that an agent tells apart; steps before them count for the first. 1.6 KiB of a termination message."""

_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
_STEPS: Final = StepCounts.__struct_fields__
KINDS: Final = ("session_minute", *_STEPS)
"""What is counted, in the order in which it is shown."""


def day_of(moment: datetime) -> str:
    """Return the date of an aware time, UTC."""
    return moment.astimezone(UTC).date().isoformat()


def minutes_of(started: datetime, ended: datetime) -> dict[str, int]:
    """Return the minutes of each day between two times in UTC, each day's rounded up."""
    minutes: dict[str, int] = {}
    while started < ended:
        midnight = datetime.combine(started.date() + _DAY, time(), UTC)
        until = min(midnight, ended)
        minutes[started.date().isoformat()] = -((started - until) // _MINUTE)
        started = until
    return minutes


def usage_of(minutes: Mapping[str, int], steps: Mapping[str, StepCounts]) -> dict[str, DayUsage]:
    """Return minutes and steps by day."""
    return {
        day: DayUsage(session_minute=minutes.get(day, 0), **msgspec.structs.asdict(steps.get(day, _NOTHING)))
        for day in minutes.keys() | steps.keys()
    }


def usage_of_record(record: RecordSpec) -> dict[str, DayUsage]:
    """Return what an ended session has used."""
    return usage_of({} if record.ready_at is None else _minutes_of_record(record), record.usage)


def _minutes_of_record(record: RecordSpec) -> dict[str, int]:
    day = record.created_at[:10]
    if record.ended_at.startswith(day):  # the operator writes both in UTC; reading times takes longer than the rest
        return {day: -(-record.duration_milliseconds // 60_000)}
    return minutes_of(parse_time(record.created_at), parse_time(record.ended_at))


def add(total: dict[str, DayUsage], more: Mapping[str, DayUsage]) -> None:
    """Add one usage to another, in place."""
    for day, usage in more.items():
        known = total.get(day)
        total[day] = usage if known is None else summed((known, usage))


def summed(usages: Iterable[DayUsage]) -> DayUsage:
    """Return the sum of some days."""
    totals = dict.fromkeys(KINDS, 0)
    for usage in usages:
        for kind in KINDS:
            totals[kind] += getattr(usage, kind)
    return DayUsage(**totals)


def counted(steps: Mapping[str, StepCounts], day: str, kind: str) -> dict[str, StepCounts]:
    """Return the steps with one more of a kind, and of no more than MOST_DAYS days."""
    counts = dict(steps)
    counts[day] = _plus(counts.get(day, _NOTHING), StepCounts(**{kind: 1}))
    if len(counts) > MOST_DAYS:
        oldest, following, *_ = sorted(counts)
        counts[following] = _plus(counts[following], counts.pop(oldest))
    return counts


def plausible(told: Mapping[str, StepCounts], first: date, last: date) -> dict[str, StepCounts]:
    """Return what an agent told, as far as it can be true.

    Its clock may be wrong, and a browser that was taken over may say anything: days outside the session's life
    (first to last, UTC) count as the nearest within, and no number is more than a browser can do.
    """
    counts: dict[str, StepCounts] = {}
    for day, steps in sorted(told.items())[-MOST_DAYS:]:
        within = min(max(day, first.isoformat()), last.isoformat())
        # A text between two dates need not be one.
        key = within if _is_date(within) else last.isoformat()
        counts[key] = _plus(counts.get(key, _NOTHING), steps)
    return {day: steps for day, steps in counts.items() if steps != _NOTHING}


def _plus(one: StepCounts, other: StepCounts) -> StepCounts:
    return StepCounts(**{kind: min(getattr(one, kind) + getattr(other, kind), MOST_STEPS) for kind in _STEPS})


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


_NOTHING: Final = StepCounts()
