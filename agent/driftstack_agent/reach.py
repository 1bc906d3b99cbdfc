"""Waiting until an element can be acted on: there, seen, at rest, enabled, in view, and not covered."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from driftstack_agent.deadline import Deadline
from driftstack_agent.errors import CommandTimeout, ScriptError, StepError
from driftstack_agent.page import Page
from driftstack_common.protocol import ProblemCode

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.1
"""Seconds between two looks, growing."""
_BLOCKED: Final = ("covered", "out of view")


class Reached(msgspec.Struct):
    """Where an element is: state `ready`, and a point of it that nothing covers, CSS pixels of the page's viewport.

    Attributes:
        direct: it gets the focus without a tap, which would open something.
    """

    state: str
    x: float = 0
    y: float = 0
    direct: bool = False


async def reach(
    page: Page, selector: str, deadline: Deadline, *, enabled: bool = True, editable: bool = False
) -> Reached:
    """Return where the first visible match is, once it is ready; scroll to it if need be.

    Raises:
        StepError: invalid (the selector) or timeout; its message says what the element lacked.
        CdpFailure: the page doesn't answer, or is gone.
    """
    pause, attempt, state = _FIRST_PAUSE, 0, ""
    while True:
        asked = {"selector": selector, "enabled": enabled, "editable": editable, "attempt": attempt}
        try:
            reached = await page.world.call(Reached, "reach", asked, deadline)
        except ScriptError as error:
            raise script_problem(error, "action.selector") from error
        except CommandTimeout as error:
            if not state:
                raise  # the page has never answered
            raise _too_late(deadline, state) from error
        state = reached.state
        if state == "ready" and deadline.left > 0:
            return reached
        if deadline.left <= pause:
            raise _too_late(deadline, state)
        attempt += state in _BLOCKED
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _too_late(deadline: Deadline, state: str) -> StepError:
    return deadline.problem(f"reaching the element (it is {state})")


def script_problem(error: ScriptError, path: str) -> StepError:
    """Return what a caller is told when our script threw; path is the field with the selector."""
    if error.kind == "SyntaxError":
        return StepError(ProblemCode.INVALID, "not a valid CSS selector", path=path)
    return StepError(ProblemCode.PAGE_FAILED, f"the page can't be looked at: {error}", error=str(error))
