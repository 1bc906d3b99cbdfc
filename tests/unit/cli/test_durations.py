from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from driftstack_cli.durations import age, parse_moment, parse_span

NOW = datetime(2026, 5, 12, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(minutes=90)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(weeks=2)),
        ("0s", timedelta()),
    ],
)
def test_spans(text: str, span: timedelta) -> None:
    assert parse_span(text) == span


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "5y", "1.5h", "5m!", "999999999w"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(ValueError, match=r"span of time|too long"):
        parse_span(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30d", datetime(2026, 6, 11, 12, 0, tzinfo=UTC)),
        ("2000h", NOW + timedelta(hours=2000)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T12:00:00Z", datetime(2027, 1, 31, 12, tzinfo=UTC)),
        ("2027-01-31T12:00:00+02:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_moments(text: str, moment: datetime) -> None:
    assert parse_moment(text, NOW) == moment


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-05-12", "in the past"),
        ("0s", "in the past"),
        ("soon", "is no time"),
        ("2027-13-01", "is no time"),
        ("2027-01-31T12:00:00", "no time zone"),
        ("999999999w", "is no time"),
        ("99999999d", "is no time"),
    ],
)
def test_what_is_no_moment(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_moment(text, NOW)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (86400 * 3, "3d"), (86400 * 800, "2y")],
)
def test_ages(seconds: int, shown: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == shown
