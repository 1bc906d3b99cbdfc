from __future__ import annotations

import math

import pytest

from driftstack_agent.pace import PROFILES, path, travel_seconds, varied


def test_a_casual_person_is_slower_than_a_power_user() -> None:
    casual, regular, power = PROFILES["casual"], PROFILES["regular"], PROFILES["power_user"]
    for slower, faster in ((casual, regular), (regular, power)):
        assert all(much > less for much, less in zip(slower, faster, strict=True))
        assert travel_seconds(slower, 500) > travel_seconds(faster, 500)


def test_farther_takes_longer_but_not_in_proportion() -> None:
    profile = PROFILES["regular"]
    near, far = travel_seconds(profile, 50), travel_seconds(profile, 1000)
    assert near < far < 20 * near
    assert far < 0.5


def test_times_vary_around_the_figure() -> None:
    times = [varied(1.0) for _ in range(200)]
    assert 0.5 <= min(times) < 0.8 < 1.2 < max(times) <= 1.5


@pytest.mark.parametrize("steps", [1, 2, 30])
def test_a_path_ends_where_it_should(steps: int) -> None:
    points = list(path((10, 20), (400, 300), steps))
    assert len(points) == steps
    assert math.dist(points[-1], (400, 300)) < 1e-6
    longest = math.dist((10, 20), (400, 300))
    assert all(math.dist(point, (400, 300)) <= longest for point in points)
