"""The interact step: a person at the page, with a mouse or a finger, and a keyboard.

Nothing is done to an element that a person couldn't do (reach.py). All input goes through Chromium's own input
handling, so pages see trusted events.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterator
from typing import Final, Literal

import msgspec

from driftstack_agent.deadline import Deadline
from driftstack_agent.errors import TargetClosed
from driftstack_agent.keyboard import CHARACTERS, MODIFIERS, NAMED, SHIFT, Chord, Key, chord, key_event
from driftstack_agent.pace import varied
from driftstack_agent.page import Page
from driftstack_agent.pointer import Input, Person, Point, Pointer
from driftstack_agent.reach import Reached, reach
from driftstack_common.protocol_steps import Press, Scroll, Tap, Type

Action = Tap | Type | Scroll | Press

_PAUSES_PART: Final = 0.7
"""Of the time that is left, so much may go into the pauses of the session's pace; delay_ms is taken as it is."""
_NO_PAUSE: Final = 0.005
_AHEAD: Final = re.compile("[\\x20-\\x7e]{1,16}")
"""Without pauses, so many characters are sent ahead of the page's answers; all on keys, which stay in order."""
_LOOK_SECONDS: Final = 0.1
_NEWLINE: Final = re.compile("\r\n|\r|\n")


class _Middle(msgspec.Struct):
    x: float
    y: float


async def interact(page: Page, action: Action, person: Person, deadline: Deadline) -> None:
    """Do it, before the deadline.

    Raises:
        StepError: invalid (a selector, a key) or timeout; its message says what the element lacked.
        CdpFailure: CommandTimeout when the page doesn't answer; the page or Chromium is gone.
    """
    hands = _Hands(page, person, deadline)
    try:
        match action:
            case Tap():
                await hands.tap(action.selector)
            case Type():
                await hands.type(action)
            case Scroll():
                await hands.scroll(action)
            case Press():
                await hands.press(chord(action.key))
        if deadline.left <= 0:
            raise deadline.problem("the interaction")
        await page.world.call(bool, "rest", {}, deadline)
    except TargetClosed as error:
        if error.crashed or not hands.input.sent:
            raise
        # The window closed itself, as windows do when their button is pressed.


class _Hands:
    """One interaction."""

    def __init__(self, page: Page, person: Person, deadline: Deadline) -> None:
        self._page = page
        self._person = person
        self._deadline = deadline
        self.input = Input(page, deadline)
        self._pointer = Pointer(page, person, deadline, self.input)

    async def tap(self, selector: str) -> None:
        await self._pointer.tap(await self._over(selector))

    async def _over(self, selector: str, *, enabled: bool = True) -> Point:
        """Return a point of the element, with the mouse there: what moves under it is followed."""
        while True:
            reached = await reach(self._page, selector, self._deadline, enabled=enabled)
            point = (reached.x, reached.y)
            if self._pointer.is_at(point):
                return point
            await self._pointer.move(point)

    async def type(self, action: Type) -> None:
        await self._focus(action.selector)
        text = _NEWLINE.sub("\n", action.text)
        while text:
            pause = self._pause_seconds(action.delay_ms, len(text))
            head = _AHEAD.match(text) if pause < _NO_PAUSE else None
            size = len(head.group()) if head is not None else 1
            await asyncio.gather(*self._strokes(text[:size]))
            await asyncio.sleep(min(pause, self._deadline.left))
            text = text[size:]

    def _pause_seconds(self, delay_ms: int | None, characters: int) -> float:
        if delay_ms is not None:
            return delay_ms / 1000
        return min(varied(self._person.profile.key), self._deadline.left * _PAUSES_PART / characters)

    async def _focus(self, selector: str) -> None:
        """Give the element the focus, by a tap unless that would open something."""
        while True:
            reached = await reach(self._page, selector, self._deadline, editable=True)
            point = (reached.x, reached.y)
            if not reached.direct:
                if not self._pointer.is_at(point):
                    await self._pointer.move(point)
                    continue
                await self._pointer.tap(point)
            if await self._has_focus(reached):
                return
            if self._deadline.left <= _LOOK_SECONDS:
                raise self._deadline.problem("reaching the element (it does not take the focus)")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _has_focus(self, reached: Reached) -> bool:
        asked = {"direct": reached.direct}
        return await self._page.world.call(bool, "focusField", asked, self._deadline)

    def _strokes(self, text: str) -> Iterator[Coroutine[None, None, None]]:
        for character in text:
            key = {"\n": NAMED["enter"], "\t": NAMED["tab"]}.get(character) or CHARACTERS.get(character)
            if key is None:  # on no key: as an input method gives it
                yield self.input.send("insertText", text=character)
                continue
            held = [SHIFT] if key.shift else []
            for modifier in held:
                yield self._key("keyDown", modifier, held)
            yield self._key("keyDown", key, held)
            yield self._key("keyUp", key, held)
            for modifier in held:
                yield self._key("keyUp", modifier, [])

    async def press(self, pressed: Chord) -> None:
        hold = varied(self._person.profile.hold)
        keys = (*pressed.modifiers, pressed.key)
        down: list[Key] = []
        try:
            for key in keys:
                down.append(key)
                await self._key("keyDown", key, down)
            await asyncio.sleep(min(hold, self._deadline.left))
        finally:  # also when the step is given up: nothing stays pressed
            while down:
                key = down.pop()
                await self._key("keyUp", key, down)

    async def _key(self, kind: Literal["keyDown", "keyUp"], key: Key, down: list[Key]) -> None:
        modifiers = sum({MODIFIERS.get(each.key, 0) for each in down})
        params = key_event(kind, key, modifiers)
        await self.input.send("dispatchKeyEvent", release=kind == "keyUp", **params)

    async def scroll(self, action: Scroll) -> None:
        if action.selector is None:
            middle = await self._page.world.call(_Middle, "middle", {}, self._deadline)
            point = (middle.x, middle.y)
            if not self._pointer.is_at(point):
                await self._pointer.move(point)
        else:
            point = await self._over(action.selector, enabled=False)
        await self._pointer.scroll(point, (action.delta_x, action.delta_y))
        await self._page.world.call(bool, "settle", {"x": point[0], "y": point[1]}, self._deadline)
