"""The wait step: until something is visible, or no longer, until the URL matches, or for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from driftstack_agent.deadline import Deadline
from driftstack_agent.errors import CommandTimeout, ScriptError, StepError
from driftstack_agent.page import Page
from driftstack_agent.reach import script_problem
from driftstack_common.protocol import ProblemCode
from driftstack_common.protocol_steps import Elapsed, SelectorHidden, SelectorShown, UrlMatches

Condition = SelectorShown | SelectorHidden | UrlMatches | Elapsed
Look = Callable[[Page, Deadline], Awaitable[bool]]

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.1
"""Seconds between two looks at the page, growing."""
_MATCH_SECONDS: Final = 0.25
"""How long a pattern may take on one URL: one that backtracks for ever is stopped, and refused."""


async def wait(front: Callable[[], Awaitable[Page]], condition: Condition, deadline: Deadline) -> bool:
    """Return whether the condition was met before the deadline.

    Args:
        front: gives the page in front, which may change meanwhile.

    Raises:
        StepError: invalid (a selector, a pattern) or page-failed; what front raises.
        CdpFailure: the page or Chromium is gone.
    """
    if isinstance(condition, Elapsed):
        await asyncio.sleep(min(condition.ms / 1000, deadline.left))
        return condition.ms <= deadline.timeout_ms
    look = _url(condition) if isinstance(condition, UrlMatches) else _selector(condition)
    pause, answered = _FIRST_PAUSE, False
    while deadline.left > 0:
        page = await front()
        try:
            if await look(page, deadline):
                return True
        except CommandTimeout:
            if not answered:
                page.doubt()
            return False
        answered = True
        await asyncio.sleep(min(pause, deadline.left))
        pause = min(2 * pause, _LONGEST_PAUSE)
    return False


def _selector(condition: SelectorShown | SelectorHidden) -> Look:
    wanted = isinstance(condition, SelectorShown)

    async def look(page: Page, deadline: Deadline) -> bool:
        try:
            shown = await page.world.call(bool, "isShown", {"selector": condition.selector}, deadline)
        except ScriptError as error:
            raise script_problem(error, "condition.selector") from error
        return shown is wanted

    return look


def _url(condition: UrlMatches) -> Look:
    """Return the look at a URL: the page's JavaScript engine reads the pattern, and only when the URL changed."""
    seen: list[str] = []

    async def look(page: Page, deadline: Deadline) -> bool:
        url = page.frame.url
        if seen == [url]:
            return False
        asked = {"pattern": condition.pattern, "url": url}
        try:
            found = await page.world.call(bool, "matchesUrl", asked, deadline, _MATCH_SECONDS)
        except ScriptError as error:
            why = "not a valid regular expression" if error.kind == "SyntaxError" else "takes too long to match"
            raise StepError(ProblemCode.INVALID, why, path="condition.pattern") from error
        seen[:] = [url]
        return found

    return look
