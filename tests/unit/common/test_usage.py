"""Minutes and steps by day, and their sums."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftstack_common.kinds import DayUsage, RecordSpec, StepCounts
from driftstack_common.times import format_time
from driftstack_common.usage import (
    MOST_DAYS,
    MOST_STEPS,
    add,
    counted,
    minutes_of,
    plausible,
    summed,
    usage_of_record,
)

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)
TIMES = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))
STEPS = st.builds(StepCounts, navigate=st.integers(0, 9), wait=st.integers(0, 9))
FIRST, LAST = date(2026, 5, 12), date(2026, 5, 14)


def record(start: datetime, end: datetime, ready: bool = True, **usage: StepCounts) -> RecordSpec:
    return RecordSpec(
        session_name="s",
        session_uid="u",
        phase="destroyed",
        reason="Deleted",
        archetype="default",
        api_key_id="key",
        created_at=format_time(start),
        ready_at=format_time(start) if ready else None,
        ended_at=format_time(end),
        duration_milliseconds=round((end - start).total_seconds() * 1000),
        usage={day.replace("_", "-"): steps for day, steps in usage.items()},
    )


@pytest.mark.parametrize(
    ("seconds", "minutes"),
    [
        (0, {}),
        (0.001, {"2026-05-12": 1}),
        (60, {"2026-05-12": 1}),
        (60.001, {"2026-05-12": 2}),
        (12 * 3600, {"2026-05-12": 720}),
        (12 * 3600 + 1, {"2026-05-12": 720, "2026-05-13": 1}),
        (36.5 * 3600, {"2026-05-12": 720, "2026-05-13": 1440, "2026-05-14": 30}),
    ],
)
def test_minutes_are_split_at_midnight_and_rounded_up(seconds: float, minutes: dict[str, int]) -> None:
    assert minutes_of(NOON, NOON + timedelta(seconds=seconds)) == minutes


@given(TIMES, st.timedeltas(timedelta(), timedelta(days=20)))
def test_minutes_are_at_most_one_more_a_day_than_the_time(start: datetime, duration: timedelta) -> None:
    minutes = minutes_of(start, start + duration)
    exact = duration / timedelta(minutes=1)
    assert exact <= sum(minutes.values()) < exact + max(1, len(minutes))
    assert len(minutes) <= duration.days + 2
    assert all(0 < number <= 1440 for number in minutes.values())


@given(TIMES, st.integers(0, 200_000_000))
def test_a_record_of_one_day_needs_no_calendar(start: datetime, milliseconds: int) -> None:
    """The short way for records says the same as the long one."""
    start = start.replace(microsecond=start.microsecond // 1000 * 1000)
    end = start + timedelta(milliseconds=milliseconds)
    used = usage_of_record(record(start, end))
    shown = {day: usage.session_minute for day, usage in used.items() if usage.session_minute}
    assert shown == minutes_of(start, end)


def test_a_session_that_never_became_ready_used_no_minutes() -> None:
    assert usage_of_record(record(NOON, NOON + timedelta(hours=1), ready=False)) == {}


def test_a_record_has_its_steps_and_minutes() -> None:
    used = usage_of_record(record(NOON, NOON + timedelta(minutes=3), **{"2026_05_12": StepCounts(navigate=2)}))
    assert used == {"2026-05-12": DayUsage(session_minute=3, navigate=2)}


def test_sums() -> None:
    total: dict[str, DayUsage] = {}
    add(total, {"a": DayUsage(wait=1)})
    add(total, {"a": DayUsage(wait=2, session_minute=3), "b": DayUsage(interact=1)})
    assert total == {"a": DayUsage(wait=3, session_minute=3), "b": DayUsage(interact=1)}
    assert summed(total.values()) == DayUsage(wait=3, session_minute=3, interact=1)


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["navigate", "wait"])), max_size=80))
def test_no_step_is_lost_however_many_days(steps: list[tuple[int, str]]) -> None:
    counts: dict[str, StepCounts] = {}
    for day, kind in sorted(steps):
        counts = counted(counts, (FIRST + timedelta(days=day)).isoformat(), kind)
    assert sum(one.navigate + one.wait for one in counts.values()) == len(steps)
    assert len(counts) <= MOST_DAYS
    latest = sorted({day for day, _ in steps})[-MOST_DAYS:]
    assert sorted(counts) == [(FIRST + timedelta(days=day)).isoformat() for day in latest]


def test_what_an_agent_says_of_days_within_the_session_is_taken() -> None:
    told = {"2026-05-12": StepCounts(navigate=1), "2026-05-14": StepCounts(wait=2)}
    assert plausible(told, FIRST, LAST) == told


@pytest.mark.parametrize(
    ("told", "taken"),
    [
        ({"2026-05-11": StepCounts(wait=1)}, {"2026-05-12": StepCounts(wait=1)}),
        ({"2031-01-01": StepCounts(wait=1)}, {"2026-05-14": StepCounts(wait=1)}),
        ({"2026-05-13x": StepCounts(wait=1)}, {"2026-05-14": StepCounts(wait=1)}),
        ({"": StepCounts(wait=1), "2026-05-12": StepCounts(wait=1)}, {"2026-05-12": StepCounts(wait=2)}),
        ({"2026-05-12": StepCounts(wait=10**30)}, {"2026-05-12": StepCounts(wait=MOST_STEPS)}),
        ({"2026-05-12": StepCounts()}, {}),
    ],
)
def test_what_can_not_be_true_is_not_taken(told: dict[str, StepCounts], taken: dict[str, Any]) -> None:
    assert plausible(told, FIRST, LAST) == taken


@given(st.dictionaries(st.text("0123456789-x", max_size=11), STEPS, max_size=30))
def test_whatever_an_agent_says_a_record_can_carry_it(told: dict[str, StepCounts]) -> None:
    taken = plausible(told, FIRST, LAST)
    assert set(taken) <= {"2026-05-12", "2026-05-13", "2026-05-14"}
