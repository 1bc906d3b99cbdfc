"""The time of day that all parts agree on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from driftstack_common.times import ServerClock, parse_time

HERE = datetime(2026, 5, 12, 12, 0, tzinfo=UTC)


class World:
    """An API server, and a client whose clock is ahead of it by `skew` seconds."""

    def __init__(self, skew: float) -> None:
        self.true = HERE.timestamp()
        self.skew = skew
        self.clock = ServerClock(self.own)

    def own(self) -> float:
        return self.true + self.skew

    def answer(self, seconds: float = 0.01) -> None:
        """A request whose answer is stamped in its middle."""
        sent = self.own()
        self.true += seconds / 2
        date = datetime.fromtimestamp(int(self.true), UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        self.true += seconds / 2
        self.clock.learn(date, sent, self.own())

    @property
    def error(self) -> float:
        """Seconds by which the clock is wrong."""
        return abs(self.clock.now.timestamp() - self.true)


@pytest.mark.parametrize("skew", [3600.0, -3600.0, 7 * 86400.0, 1.7])
def test_clock_that_is_wrong_is_right_within_a_second_at_once_and_soon_within_milliseconds(skew: float) -> None:
    world = World(skew)
    world.answer()
    assert world.error <= 0.51
    for _ in range(200):
        world.true += 3.618  # answers come at ever other fractions of a second
        world.answer()
    assert world.error < 0.05


def test_clock_that_is_right_is_left_alone() -> None:
    world = World(0.0)
    for _ in range(50):
        world.true += 0.37
        world.answer(0.2)
        assert world.clock.ahead == 0.0


def test_clock_that_is_set_is_learned_anew() -> None:
    world = World(0.0)
    world.answer()
    world.skew = -600.0
    world.answer()
    assert world.error <= 0.51
    world.skew = 0.0
    world.answer()
    assert world.error <= 0.51


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_answers_without_a_date_teach_nothing(date: str | None) -> None:
    world = World(3600.0)
    world.clock.learn(date, world.own(), world.own())
    assert world.error == 3600.0


def test_time_without_zone_is_refused() -> None:
    assert parse_time("2026-05-12T14:00:00+02:00") == HERE
    assert parse_time("2026-05-12T12:00:00.001Z") == HERE + timedelta(milliseconds=1)
    with pytest.raises(ValueError, match="no time zone"):
        parse_time("2026-05-12T12:00:00")
