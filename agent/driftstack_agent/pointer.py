"""A mouse or a finger on the page, moved as a hand would."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final, NamedTuple

from driftstack_agent.deadline import Deadline
from driftstack_agent.pace import FRAME_SECONDS, PROFILES, Profile, path, travel_seconds, varied
from driftstack_agent.page import Page
from driftstack_common.kinds.archetype import Device
from driftstack_common.protocol import Pace

Point = tuple[float, float]

_TRAVEL_PART: Final = 0.5
"""Of the time that is left, so much may go into moving the pointer."""
_NOTCH: Final = 100
"""CSS pixels of a mouse wheel's notch."""
_MOST_NOTCHES: Final = 20
_SLOP: Final = 15
"""CSS pixels that a finger moves before Chromium takes it for a scroll; they don't count."""
_RELEASE_SECONDS: Final = 0.2
"""What is pressed is released, also when the time is over."""
_REST_SECONDS: Final = 0.1
"""A finger that rests before it is lifted doesn't fling."""


class Person(NamedTuple):
    """Who acts: how fast, and whether with a finger."""

    profile: Profile = PROFILES["regular"]
    touch: bool = False

    @classmethod
    def of(cls, pace: Pace, device: Device) -> Person:
        """Return the person of a session."""
        return cls(PROFILES[pace], device.touch)


class Input:
    """Sends a page input events.

    Attributes:
        sent: something has been sent, so the page may have acted on it.
    """

    def __init__(self, page: Page, deadline: Deadline) -> None:
        self._page = page
        self._deadline = deadline
        self.sent = False

    async def send(self, kind: str, *, release: bool = False, **params: Any) -> None:
        """Send `Input.<kind>`; the answer comes when the page has handled it.

        Args:
            release: send it in any case.

        Raises:
            StepError: timeout, there is no time left.
            CdpFailure: the page doesn't answer, or is gone.
        """
        if self._deadline.left <= 0 and not release:
            raise self._deadline.problem("the interaction")
        self.sent = True
        seconds = max(self._deadline.left, _RELEASE_SECONDS) if release else self._deadline.left
        await self._page.target.send(f"Input.{kind}", params, seconds)


class Pointer:
    """The person's mouse or finger on a page."""

    def __init__(self, page: Page, person: Person, deadline: Deadline, keys: Input) -> None:
        self._page = page
        self._profile = person.profile
        self.touch = person.touch
        self._deadline = deadline
        self._input = keys

    def is_at(self, point: Point) -> bool:
        """Whether there is nothing to move: a finger never hovers."""
        here = self._page.pointer
        return self.touch or (here is not None and math.dist(here, point) < 1)

    async def move(self, point: Point) -> None:
        """Move the mouse there."""
        start = self._page.pointer or (0.0, 0.0)
        seconds = varied(travel_seconds(self._profile, math.dist(start, point)))
        seconds = min(seconds, self._deadline.left * _TRAVEL_PART)
        steps = max(round(seconds / FRAME_SECONDS), 1)
        for x, y in path(start, point, steps):
            await self._mouse("mouseMoved", x, y, button="none")
            self._page.pointer = (x, y)
            await asyncio.sleep(seconds / steps)

    async def tap(self, point: Point) -> None:
        """Click where the mouse is, or touch."""
        hold = varied(self._profile.hold)
        try:
            if self.touch:
                await self._finger("touchStart", point)
            else:
                await self._mouse("mousePressed", *point, button="left", buttons=1, clickCount=1)
            await asyncio.sleep(hold)
        finally:  # also when the step is given up: nothing stays pressed
            if self.touch:
                await self._finger("touchEnd")
            else:
                await self._mouse("mouseReleased", *point, button="left", clickCount=1, release=True)

    async def scroll(self, point: Point, delta: Point) -> None:
        """Turn the wheel over a point, or swipe from there."""
        distance = math.hypot(*delta)
        steps = min(max(math.ceil(distance / _NOTCH), 1), _MOST_NOTCHES)
        pause = min(self._profile.hold, self._deadline.left * _TRAVEL_PART / steps)
        if self.touch:
            await self._swipe(point, delta, steps, pause)
            return
        for _ in range(steps):
            await self._mouse("mouseWheel", *point, deltaX=delta[0] / steps, deltaY=delta[1] / steps)
            await asyncio.sleep(pause)

    async def _swipe(self, point: Point, delta: Point, steps: int, pause: float) -> None:
        distance = math.hypot(*delta) or 1
        longer = 1 + _SLOP / distance
        try:
            await self._finger("touchStart", point)
            for step in range(1, steps + 1):
                part = longer * step / steps
                await self._finger("touchMove", (point[0] - delta[0] * part, point[1] - delta[1] * part))
                await asyncio.sleep(pause)
            await asyncio.sleep(min(_REST_SECONDS, self._deadline.left))
        finally:
            await self._finger("touchEnd")

    async def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        await self._input.send("dispatchMouseEvent", type=kind, x=x, y=y, **more)

    async def _finger(self, kind: str, point: Point | None = None) -> None:
        points = [] if point is None else [{"x": point[0], "y": point[1]}]
        await self._input.send("dispatchTouchEvent", release=not points, type=kind, touchPoints=points)
