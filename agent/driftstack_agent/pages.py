"""The session's pages: the one in front, on which steps act, those under it, and those beside.

Chromium attaches us to every page before the page does anything, so that a window a page opens shows the session's
device from its first script on. A window that a person's doing opened comes to the front and stays there until it
closes, as in any browser; one that a script opened by itself stays beside. A page in front that is lost gives way
to the one under it; the last one is replaced (docs/decisions/0012, 0062).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from driftstack_agent import logs
from driftstack_agent.browser import Browser, Target
from driftstack_agent.cdp import COMMAND_SECONDS, Subscription
from driftstack_agent.device import EXCLUSIVE, Command, commands
from driftstack_agent.errors import CdpFailure
from driftstack_agent.notices import Notices
from driftstack_agent.page import Page, Window, send_all
from driftstack_common.kinds.archetype import Device

POPUPS: Final = 8
"""Windows that pages have open at a time; more are closed before they load: each may be a process."""
_ATTACHED: Final = "Target.attachedToTarget"
_DETACHED: Final = "Target.detachedFromTarget"
_RESUME: Final[Command] = ("Runtime.runIfWaitingForDebugger", {})
_CLEAR: Final[Command] = ("Emulation.clearDeviceMetricsOverride", {})
"""Of metrics that are those of before, Chromium believes that they are in effect."""
_WINDOW_SECONDS: Final = 1.0
_ADOPT_SECONDS: Final = 3.0
"""How long a window may take to be adopted, and so the next step to begin."""


class _TargetInfo(msgspec.Struct, rename="camel"):
    target_id: str
    type: str
    opener_id: str = ""


class _Targets(msgspec.Struct, rename="camel"):
    target_infos: list[_TargetInfo]


class _Attached(msgspec.Struct, rename="camel"):
    session_id: str
    target_info: _TargetInfo


class _Detached(msgspec.Struct, rename="camel"):
    session_id: str


class Pages:
    """All pages of a browser.

    Args:
        goes_on: told of a page that is lost, and why; returns whether to do without it.
        broken: called with the reason when there is no page and none can be opened.
    """

    def __init__(
        self,
        browser: Browser,
        notices: Notices,
        goes_on: Callable[[str], bool],
        broken: Callable[[str], None],
    ) -> None:
        self._browser = browser
        self._notices = notices
        self._goes_on = goes_on
        self._broken = broken
        self._stack: list[Page] = []
        self._beside: list[Page] = []
        self._targets: dict[str, Target] = {}  # by our session: every page there is, of DevTools clients too
        self._device: Device | None = None
        self._arrivals: dict[str, asyncio.Future[Target]] = {}
        self._opening = 1  # until the first is there
        self._follower: asyncio.Task[None] | None = None
        self._adopting: set[asyncio.Task[None]] = set()
        self._coming = 0
        self._closing: set[asyncio.Task[None]] = set()
        self._replacing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Attach to every page there is and will be; the first is in front.

        Raises:
            CdpFailure: Chromium doesn't answer, or is gone.
        """
        events = self._browser.connection.subscribe([_ATTACHED, _DETACHED])
        params: dict[str, Any] = {
            "autoAttach": True,
            "waitForDebuggerOnStart": True,
            "flatten": True,
            "filter": [{"type": "page"}],
        }
        self._follower = asyncio.create_task(self._follow(events))
        connection = self._browser.connection
        _, targets = await asyncio.gather(  # in one breath
            connection.send("Target.setAutoAttach", params), connection.call(_Targets, "Target.getTargets")
        )
        pages = [info.target_id for info in targets.target_infos if info.type == "page"]
        self._bring(await self._open(pages[0] if pages else None), self._stack)

    def close(self) -> None:
        """Follow no page any longer."""
        for task in (self._follower, self._replacing, *self._adopting, *self._closing):
            if task is not None:
                task.cancel()
        for page in (*self._stack, *self._beside):
            page.close()

    async def show(self, device: Device) -> None:
        """Make the page in front show a device, and all that come.

        Raises:
            StepError: invalid, Chromium refuses the device.
            CdpFailure: the page is gone.
        """
        page = await self.front()
        await page.show(device, self._browser.version.user_agent)
        self._device = device

    # Which page.

    async def front(self) -> Page:
        """Return the page that steps act on, waiting for one that is being replaced."""
        while self._replacing is not None and not self._replacing.done():
            await asyncio.shield(self._replacing)
        await self.adopted()
        return self._stack[-1]

    async def responsive(self) -> Page:
        """Return a page that answers; one that is stuck in a script is given up (only navigate may lose it)."""
        page = await self.front()
        if not await page.responsive():
            self._give_up(page, "stuck")
        return await self.front()

    async def adopted(self) -> None:
        """Wait for the windows that have just been opened, not for long."""
        if self._adopting:
            await asyncio.wait(self._adopting, timeout=_ADOPT_SECONDS)

    # Beside DevTools clients.

    def answer_dialogs(self) -> None:
        """Answer the dialogs that were left to DevTools clients: a step begins."""
        for page in (*self._stack, *self._beside):
            page.answer_dialog()

    def give_way(self, target: str, method: str) -> None:
        """Let a DevTools client override what is ours in a page, if the command is such a one.

        Raises:
            ConnectionClosed: Chromium is gone.
        """
        if method in EXCLUSIVE:
            for ours in self._targets.values():
                if ours.id == target:
                    ours.post(*EXCLUSIVE[method])

    async def restore(self) -> None:
        """Put right what a DevTools client that has gone may have changed: dialogs, downloads, the device."""
        pages = (*self._stack, *self._beside)
        for page in pages:
            if not self._notices.attended(page.target.id):
                page.answer_dialog()
        work = (send_all(page.target, (_CLEAR, *self._commands())) for page in pages)
        for result in await asyncio.gather(self._browser.refuse_downloads(), *work, return_exceptions=True):
            if isinstance(result, BaseException):
                logs.info("not restored after a devtools client", error=type(result).__name__)

    def _bring(self, page: Page, among: list[Page]) -> None:
        among.append(page)
        page.lost.add_done_callback(lambda lost: self._lost(page, lost))

    # Pages that go.

    def _lost(self, page: Page, lost: asyncio.Future[str]) -> None:
        if lost.cancelled() or self._browser.connection.is_closed or page not in (*self._stack, *self._beside):
            return
        if self._goes_on(lost.result()):
            self._give_up(page, f"lost: {lost.result()}")

    def _give_up(self, page: Page, why: str) -> None:
        """Do without a page, once: one that is stuck in a script may crash while it is asked whether it is."""
        if page in self._beside:
            self._beside.remove(page)
        elif page in self._stack and len(self._stack) > 1:
            self._stack.remove(page)
        elif page in self._stack and (self._replacing is None or self._replacing.done()):
            logs.error("page given up", why=why)
            self._replacing = asyncio.create_task(self._replace(page))
            return
        else:
            return
        logs.info("page left", why=why)
        self._discard(page)

    def _discard(self, page: Page) -> None:
        page.close()
        task = asyncio.create_task(self._browser.close_page(page.target.id))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _replace(self, old: Page) -> None:
        old.close()
        try:
            page = await self._open()
        except (CdpFailure, TimeoutError) as error:
            self._broken(f"no page could be opened after one was lost: {error}")
            return
        self._stack.remove(old)
        self._replacing = None
        self._bring(page, self._stack)
        self._discard(old)
        logs.info("page replaced")

    # Pages that come.

    async def _open(self, known: str | None = None) -> Page:
        self._opening += known is None
        try:
            target = known or await self._browser.open_page()
            arrived = await asyncio.wait_for(self._arrival(target), COMMAND_SECONDS)
        finally:
            self._opening -= 1
            if not self._opening:
                self._arrivals.clear()
        return await Page.watch(arrived, self._notices)

    def _commands(self) -> list[Command]:
        return [] if self._device is None else commands(self._device, self._browser.version.user_agent)

    def _arrival(self, target: str) -> asyncio.Future[Target]:
        return self._arrivals.setdefault(target, asyncio.get_running_loop().create_future())

    async def _follow(self, events: Subscription) -> None:
        with events:
            try:
                async for event in events:
                    if event.method == _ATTACHED:
                        self._attached(event.read(_Attached))
                    else:
                        self._targets.pop(event.read(_Detached).session_id, None)
            except CdpFailure as error:
                if not self._browser.connection.is_closed:
                    self._broken(f"the browser's pages can't be followed: {error}")

    def _attached(self, attached: _Attached) -> None:
        info = attached.target_info
        if info.type != "page":  # a DevTools client's own session
            return
        target = Target(self._browser.connection, info.target_id, attached.session_id)
        self._targets[target.session] = target
        opener = next((page for page in (*self._stack, *self._beside) if page.target.id == info.opener_id), None)
        work = self._let_go(target) if opener is None else self._adopt(target, opener)
        task = asyncio.create_task(work)
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    async def _let_go(self, target: Target) -> None:
        """A page that we have asked for, or a DevTools client: the device, nothing more."""
        try:
            await send_all(target, (*self._commands(), _RESUME))
        except CdpFailure as error:
            logs.info("page without the device", error=type(error).__name__)
        if self._opening:
            self._arrival(target.id).set_result(target)

    async def _adopt(self, target: Target, opener: Page) -> None:
        """Take in a window that a page opens."""
        window = opener.windows.popleft() if opener.windows else Window("", self._notices.stepping)
        front = window.user_gesture and opener is self._stack[-1]
        if front and self._full and self._beside:  # what a person asked for is worth more than what a script opened
            self._give_up(self._beside[0], "another window comes")
        if self._full:
            self._notices.add("popup", "closed", url=window.url)
            await self._refuse(target)
            return
        self._notices.add("popup", "front" if front else "background", url=window.url)
        self._coming += 1
        try:
            page = await self._take_in(target, window.url)
        except (CdpFailure, TimeoutError) as error:
            logs.info("window not adopted", error=type(error).__name__)
            return
        finally:
            self._coming -= 1
        self._bring(page, self._stack if front else self._beside)

    async def _take_in(self, target: Target, url: str) -> Page:
        """Return the page of a window, or one of our own with its URL.

        A window that changes its process at the very start, as that of a link without opener does, may answer no
        command ever after (Chromium 156, about one in seven).
        """
        try:
            async with asyncio.timeout(_WINDOW_SECONDS):
                return await Page.watch(target, self._notices, (*self._commands(), _RESUME))
        except (CdpFailure, TimeoutError):
            closing = asyncio.create_task(self._refuse(target))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            if not url.startswith(("http://", "https://")):
                raise
        async with asyncio.timeout(_ADOPT_SECONDS - _WINDOW_SECONDS):
            page = await self._open()
            await page.target.send("Page.navigate", {"url": url})
        return page

    @property
    def _full(self) -> bool:
        return len(self._stack) - 1 + len(self._beside) + self._coming >= POPUPS

    async def _refuse(self, target: Target) -> None:
        """Close a window; one that waits for its debugger holds its opener up until it is told to go on."""
        await asyncio.gather(target.send(*_RESUME), self._browser.close_page(target.id), return_exceptions=True)
