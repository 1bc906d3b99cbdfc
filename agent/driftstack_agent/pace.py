"""How fast a person is: pauses between keys, the way of the pointer. Drawn at random around a profile's figures."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Final, NamedTuple

from driftstack_common.protocol import Pace

FRAME_SECONDS: Final = 1 / 60
"""Between two positions of the pointer; a mouse reports more often, a page sees one per frame."""
_SPREAD: Final = 0.5
_BOW: Final = 0.06
"""How far a hand leaves the straight line, as a part of the way."""


class Profile(NamedTuple):
    """Seconds.

    Attributes:
        key: between two keys.
        hold: how long a key or button is down.
        reach: to move the pointer to something near.
        stretch: further, for each doubling of the distance (Fitts's law).
    """

    key: float
    hold: float
    reach: float
    stretch: float


PROFILES: Final[dict[Pace, Profile]] = {
    "casual": Profile(key=0.16, hold=0.09, reach=0.18, stretch=0.08),
    "regular": Profile(key=0.07, hold=0.05, reach=0.08, stretch=0.035),
    "power_user": Profile(key=0.025, hold=0.025, reach=0.03, stretch=0.012),
}
_NEAR: Final = 30.0
"""CSS pixels that need no aiming."""


def varied(seconds: float) -> float:
    """Return a time around this one: nobody is even."""
    return seconds * random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311 - a hand, not a secret


def travel_seconds(profile: Profile, distance: float) -> float:
    """Return how long the pointer takes for a distance in CSS pixels."""
    return profile.reach + profile.stretch * math.log2(1 + distance / _NEAR)


def path(start: tuple[float, float], end: tuple[float, float], steps: int) -> Iterator[tuple[float, float]]:
    """Yield so many positions: slow, fast, slow, in a slight bow; the last one is the end."""
    (x, y), (to_x, to_y) = start, end
    bow = random.uniform(-_BOW, _BOW)  # noqa: S311
    for step in range(1, steps + 1):
        done = step / steps
        eased = done * done * (3 - 2 * done)
        aside = bow * math.sin(math.pi * eased)
        yield x + (to_x - x) * eased - (to_y - y) * aside, y + (to_y - y) * eased + (to_x - x) * aside
