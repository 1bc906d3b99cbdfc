"""A page of the session: kept watched, made to show its device, navigated.

One task follows the page's events for its whole life: what it has loaded (navigation.MainFrame), and what it wants
of a person: dialogs, which stop all scripts of a page until somebody answers them, downloads, file choosers, new
windows. The task never waits for Chromium itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Final, cast

import msgspec

from driftstack_agent import logs
from driftstack_agent.browser import Target
from driftstack_agent.cdp import Event, Subscription
from driftstack_agent.deadline import Deadline
from driftstack_agent.device import Command, commands
from driftstack_agent.errors import CdpError, CdpFailure, CommandTimeout, StepError, TargetClosed
from driftstack_agent.navigation import EVENTS, MainFrame
from driftstack_agent.notices import Notices
from driftstack_agent.world import World
from driftstack_common.kinds.archetype import Device
from driftstack_common.protocol import Navigate, Navigated, NoticeKind, ProblemCode, WaitUntil

_DIALOG: Final = "Page.javascriptDialogOpening"
_ANSWERED: Final = "Page.javascriptDialogClosed"
_CHOOSER: Final = "Page.fileChooserOpened"
_DOWNLOAD: Final = "Page.downloadWillBegin"
_WINDOW: Final = "Page.windowOpen"
_CRASHED: Final = "Inspector.targetCrashed"
_STOP_SECONDS: Final = 1.0
"""How long a page that missed its deadline may take to answer at all, before it counts as stuck."""
_ABORTED: Final = "net::ERR_ABORTED"
_IN_EFFECT: Final = "override is already in effect"
_NO_URL: Final = "Cannot navigate to invalid URL"


class _Frame(msgspec.Struct, rename="camel"):
    id: str
    url: str
    loader_id: str


class _FrameTree(msgspec.Struct, rename="camel"):
    frame: _Frame


class _Tree(msgspec.Struct, rename="camel"):
    frame_tree: _FrameTree


class _NavigateReply(msgspec.Struct, rename="camel"):
    loader_id: str = ""
    error_text: str = ""
    is_download: bool = False


class _Dialog(msgspec.Struct):
    type: str


class _Message(msgspec.Struct):
    message: str


class _Download(msgspec.Struct, rename="camel"):
    url: str
    suggested_filename: str = ""


class Window(msgspec.Struct, rename="camel"):
    """A window that a page opens; user_gesture: a browser with a person in front of it would show it."""

    url: str
    user_gesture: bool


_ENABLE: Final[tuple[Command, ...]] = (
    ("Page.enable", {}),
    ("Page.setLifecycleEventsEnabled", {"enabled": True}),
    # Nobody asks for bodies: keep none.
    ("Network.enable", {"maxTotalBufferSize": 0, "maxResourceBufferSize": 0}),
    ("Inspector.enable", {}),
    ("Page.setInterceptFileChooserDialog", {"enabled": True, "cancel": True}),
)
_WINDOWS: Final = 32
"""Windows that were announced and have not come yet."""


class Page:
    """A watched page; open with Page.watch.

    Attributes:
        lost: done once the page is gone or can't be followed any more; its result says why.
        world: the agent's own scripts in it.
        pointer: where the mouse is, CSS pixels; None before its first move.
        windows: those that the page opens, in order; whoever adopts one takes it off.
    """

    def __init__(self, target: Target, events: Subscription, frame: MainFrame, notices: Notices) -> None:
        self.target = target
        self.frame = frame
        self.world = World(target, frame.frame)
        self.pointer: tuple[float, float] | None = None
        self.windows: deque[Window] = deque(maxlen=_WINDOWS)
        self._notices = notices
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._changed = asyncio.Event()
        self._suspect = False
        self._refused: Sequence[Command] = ()
        self._dialog: tuple[NoticeKind, str] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._follower = asyncio.create_task(self._follow(events))

    @classmethod
    async def watch(cls, target: Target, notices: Notices, extra: Sequence[Command] = ()) -> Page:
        """Enable the domains the steps need, and follow the page from now on.

        Args:
            extra: further commands, sent after these in the same breath: a page that waits for its debugger may
                answer none before it is told to go on.

        Raises:
            CdpFailure: the page doesn't answer, or is gone.
        """
        events = target.subscribe((*EVENTS, _DIALOG, _ANSWERED, _CHOOSER, _DOWNLOAD, _WINDOW, _CRASHED))
        refused = await send_all(target, (*_ENABLE, *extra))
        root = (await target.call(_Tree, "Page.getFrameTree")).frame_tree.frame
        page = cls(target, events, MainFrame(root.id, root.url, root.loader_id), notices)
        page._refused = refused
        return page

    async def show(self, device: Device, user_agent: str) -> None:
        """Make the page show a device.

        Raises:
            StepError: invalid, Chromium doesn't know the locale, timezone or a size.
            CdpFailure: the page is gone.
        """
        try:
            await asyncio.gather(*(self.target.send(*command) for command in commands(device, user_agent)))
        except CdpError as error:
            raise StepError(ProblemCode.INVALID, f"Chromium refuses the device: {error.message}") from error

    def close(self) -> None:
        """Follow the page no longer."""
        for task in (self._follower, *self._tasks):
            task.cancel()

    async def _follow(self, events: Subscription) -> None:
        with events:
            try:
                async for event in events:
                    try:
                        self._take(event)
                    except msgspec.MsgspecError as error:  # one event less beats a page nobody follows
                        logs.error("event not understood", method=event.method, error=type(error).__name__)
            except CdpFailure as error:
                self.lost.set_result(str(error))
                self._changed.set()

    def _take(self, event: Event) -> None:
        match event.method:
            case "Page.javascriptDialogOpening":
                self._open_dialog(event)
            case "Page.javascriptDialogClosed":
                self._dialog = None
            case "Page.fileChooserOpened":
                self._notices.add("file_chooser", "cancelled")
            case "Page.downloadWillBegin":
                download = event.read(_Download)
                self._notices.add("download", "refused", download.suggested_filename, download.url)
            case "Page.windowOpen":
                self.windows.append(event.read(Window))
            case method if method in EVENTS:
                loader = self.frame.loader
                self.frame.apply(event, time.monotonic())
                self._changed.set()
                if self._refused and self.frame.loader != loader:
                    self._start(self._dress())

    def _open_dialog(self, event: Event) -> None:
        try:
            text = event.read(_Message).message
        except msgspec.MsgspecError:  # half a character is no text; the dialog is answered all the same
            text = ""
        self._dialog = (cast("NoticeKind", event.read(_Dialog).type), text)
        if self._notices.stepping or not self._notices.attended(self.target.id):
            self.answer_dialog()

    def answer_dialog(self) -> None:
        """Answer the dialog that was left to a DevTools client, if one is open."""
        if self._dialog is None:
            return
        (kind, text), self._dialog = self._dialog, None
        # Leaving a page is never refused; everything else is dismissed.
        accept = kind == "beforeunload"
        self._start(self._answer_dialog(accept=accept))
        self._notices.add(kind, "accepted" if accept else "dismissed", text)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dress(self) -> None:
        """Try again what was refused: another document may be in a process of its own."""
        try:
            self._refused = await send_all(self.target, self._refused)
        except CdpFailure as error:
            logs.info("device not shown again", error=type(error).__name__)

    async def _answer_dialog(self, *, accept: bool) -> None:
        try:
            await self.target.send("Page.handleJavaScriptDialog", {"accept": accept})
        except CdpFailure as error:
            logs.info("dialog not answered", error=type(error).__name__)

    async def responsive(self) -> bool:
        """Whether the page can be used; asks it only if it missed a deadline before."""
        if self.lost.done():
            return False
        if self._suspect:
            try:
                await self.target.send("Runtime.evaluate", {"expression": "1"}, _STOP_SECONDS)
            except CdpFailure:
                return False
            self._suspect = False
        return True

    def doubt(self) -> None:
        """Note that the page didn't answer in a step's time, so it may be stuck in a script."""
        self._suspect = True

    async def missed_deadline(self) -> None:
        """Stop loading after a step ran out of time, and note that the page may be stuck in a script."""
        self._suspect = True
        try:
            await self.target.send("Page.stopLoading", timeout=_STOP_SECONDS)
        except CdpFailure as error:
            logs.info("loading not stopped", error=type(error).__name__)

    async def navigate(self, request: Navigate, url: str, deadline: Deadline) -> Navigated:
        """Load a checked URL and wait as asked, until the deadline.

        Raises:
            StepError: invalid (only Chromium knows why), page-failed or timeout.
            CdpFailure: the page or Chromium is gone.
        """
        try:
            await self._load(url, request.wait_until, deadline)
        except asyncio.CancelledError:  # nobody waits for it any more; the next step finds a page at rest
            await self.missed_deadline()
            raise
        except (CommandTimeout, TimeoutError) as error:
            await self.missed_deadline()
            raise deadline.problem(f"loading {logs.shown_url(url)} until {request.wait_until}") from error
        return Navigated(
            url=request.url,
            final_url=self.frame.url,
            status=self.frame.status,
            duration_ms=deadline.elapsed_ms,
        )

    async def _load(self, url: str, wait_until: WaitUntil, deadline: Deadline) -> None:
        moves = self.frame.moves
        try:
            reply = await self.target.call(_NavigateReply, "Page.navigate", {"url": url}, timeout=deadline.left)
        except CdpError as error:
            code = ProblemCode.INVALID if error.message == _NO_URL else ProblemCode.PAGE_FAILED
            raise StepError(
                code, f"Chromium refuses {logs.shown_url(url)}: {error.message}", error=error.message
            ) from error
        if reply.error_text:
            raise _page_failed(reply.error_text, url, download=reply.is_download)
        if not reply.loader_id:
            # The same document, only its fragment changed; the event with its new URL follows the reply.
            while self.frame.moves == moves:
                await self.change(deadline.left)
            return
        while not self.frame.of(reply.loader_id).committed:
            await self.change(deadline.left)
        while not self.frame.reached(wait_until, time.monotonic()):
            idle = self.frame.quiet_in(time.monotonic()) if wait_until == "networkidle" else deadline.left
            await self.change(deadline.left, idle if idle > 0 else deadline.left)
        if self.frame.document.failure:  # the page went on to something that failed
            raise _page_failed(self.frame.document.failure, self.frame.url)

    async def change(self, left: float, wake: float | None = None) -> None:
        """Wait for an event, at most until wake; TimeoutError once nothing is left."""
        if self.lost.done():
            raise TargetClosed(self.lost.result())
        if left <= 0:
            raise TimeoutError
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), left if wake is None else min(left, wake))
        except TimeoutError:
            return  # the caller looks again, at the clock too


async def send_all(target: Target, wanted: Sequence[Command]) -> Sequence[Command]:
    """Send commands in one breath; return those that another page of the same process has been given already.

    Locale and timezone are a process's: a window shares them with its opener until it loads another site.

    Raises:
        CdpFailure: another one was refused, or the page is gone.
    """
    results = await asyncio.gather(*(target.send(*command) for command in wanted), return_exceptions=True)
    refused = []
    for command, result in zip(wanted, results, strict=True):
        if isinstance(result, CdpError) and _IN_EFFECT in result.message:
            refused.append(command)
        elif isinstance(result, BaseException):
            raise result
    return refused


def _page_failed(error: str, url: str, *, download: bool = False) -> StepError:
    if download:
        why = f"{logs.shown_url(url)} is a download, and downloads are refused ({error})"
    elif error == _ABORTED:
        why = f"{logs.shown_url(url)} gave no page: no content, or another navigation took over ({error})"
    else:
        why = f"{error} at {logs.shown_url(url)}"
    return StepError(ProblemCode.PAGE_FAILED, why, error=error)
