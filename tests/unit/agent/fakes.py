"""A browser that is only its futures, and pages that only say whether they answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

from driftstack_agent.browser import Target


class FreshPage:
    """A page that answers."""

    def __init__(self, name: str = "fresh") -> None:
        self.sent: list[tuple[str, object]] = []
        self.target = cast("Target", SimpleNamespace(id=name, send=self._send))
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.closed = False

    async def _send(self, method: str, params: object = None) -> None:
        self.sent.append((method, params))

    async def responsive(self) -> bool:
        """Whether it answers."""
        return True

    def answer_dialog(self) -> None:
        """None is open."""

    def close(self) -> None:
        """Nothing to follow any longer."""
        self.closed = True


class StuckPage(FreshPage):
    """A page that was in a script, and crashes when it is asked whether it still is."""

    async def responsive(self) -> bool:
        """Crash."""
        if not self.lost.done():
            self.lost.set_result("the page's renderer crashed")
            await asyncio.sleep(0)
        return False


class BareBrowser:
    """What the agent holds on to of a browser; it opens no page."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()
        self.disconnected: asyncio.Future[None] = loop.create_future()
        self.connection = SimpleNamespace(is_closed=False)
        self.closed: list[str] = []

    async def open_page(self) -> str:
        """Never answer."""
        await asyncio.Event().wait()
        raise AssertionError

    async def close_page(self, target: str) -> None:
        """Note it."""
        self.closed.append(target)
