"""The agent itself: whose pod this is, one step at a time, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from driftstack_agent import logs, sandbox
from driftstack_agent.addresses import own_addresses
from driftstack_agent.browser import Browser
from driftstack_agent.capture import Captured, capture
from driftstack_agent.deadline import Deadline
from driftstack_agent.errors import CdpFailure, StartError, StepError
from driftstack_agent.lifetime import Alarm, Clocks
from driftstack_agent.memory import OomKills
from driftstack_agent.page import Page, open_page
from driftstack_agent.urls import check_url
from driftstack_common.kinds.archetype import Device
from driftstack_common.protocol import (
    Activity,
    AgentState,
    Capture,
    Claim,
    Claimed,
    EndReason,
    Health,
    Navigate,
    Navigated,
    ProblemCode,
    Sandbox,
    Termination,
)

READY_WAIT_SECONDS: Final = 2.0
"""How long a claim waits for a browser that is starting, before it answers `starting`: so a cold start needs no
polling between the agent's first answer and the browser's."""
_HEALTH_SECONDS: Final = 2.0
_EXIT_SECONDS: Final = 1.0
"""How long after its pipe Chromium may end: its exit code tells more than the closed pipe."""
_PROOF_SECONDS: Final = 3.0
"""A renderer that has just started may not have its filter yet."""
_PROOF_PAUSE_SECONDS: Final = 0.01

T = TypeVar("T")


class Agent:
    """One browser, at most one session, at most one step.

    Attributes:
        ended: done with the reason once the agent has to end; who runs it winds down then.
    """

    def __init__(self, browser: Browser, start_seconds: float, oom_kills: OomKills | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._oom_kills = oom_kills or OomKills()
        self.ended: asyncio.Future[Termination] = loop.create_future()
        self._browser = browser
        self._start_seconds = start_seconds
        self._ready: asyncio.Future[None] = loop.create_future()
        self._page: Page
        self._replacing: asyncio.Task[None] | None = None
        self._given_up: Page | None = None
        self._sandbox: Sandbox | None = None
        self._holder: str | None = None
        self._device: Device | None = None
        self._showing = asyncio.Lock()
        self._clocks: Clocks | None = None
        self._alarm: Alarm | None = None
        self._step: str | None = None
        browser.exited.add_done_callback(self._browser_exited)
        browser.disconnected.add_done_callback(self._browser_disconnected)

    # Start and end.

    async def start(self) -> None:
        """Connect, open the page, prove the sandbox; on failure the agent ends with the reason."""
        try:
            async with asyncio.timeout(self._start_seconds):
                await self._browser.connect()
                target = await self._browser.start(self._start_seconds)
                self._follow(await Page.watch(target))
                self._sandbox = await self._prove()
        except StartError as error:
            self.end(error.reason, str(error))
        except (CdpFailure, TimeoutError) as error:
            await self._start_failed(error)
        except Exception as error:  # whatever it is: a pod that can't serve must end and say why
            self.end(EndReason.START_FAILED, f"the start failed: {error!r}")
        else:
            self._ready.set_result(None)
            logs.info("ready", browser=self._browser.version.product)

    async def _start_failed(self, error: Exception) -> None:
        """End with what Chromium says; nothing has been loaded yet, so that holds no page's content."""
        code, lines = await self._browser.last_words()
        reason = EndReason.SANDBOX_MISSING if "No usable sandbox" in lines else EndReason.START_FAILED
        if code is None:
            self.end(reason, f"Chromium gave no page in {self._start_seconds:g} s {error}\n{lines}")
        else:
            self.end(reason, f"Chromium {_describe_exit(code)}: {lines}")

    async def _prove(self) -> Sandbox:
        proof: Sandbox | None = None
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _PROOF_SECONDS
        while loop.time() < give_up:
            proof = sandbox.prove(self._browser.process.pid)
            if proof is not None and proof.proven:
                return proof
            await asyncio.sleep(_PROOF_PAUSE_SECONDS)
        seen = proof or "no renderer"
        raise StartError(EndReason.SANDBOX_MISSING, f"Chromium's renderers are not confined: {seen}")

    def _browser_exited(self, exited: asyncio.Future[int]) -> None:
        if self._ready.done() and not exited.cancelled():  # before that, its closed pipe fails the start
            reason = EndReason.OUT_OF_MEMORY if self._oom_kills.any else EndReason.BROWSER_CRASHED
            self.end(reason, f"Chromium {_describe_exit(exited.result())}")

    def _browser_disconnected(self, _: asyncio.Future[None]) -> None:
        if self._ready.done() and not self.ended.done():
            why = "Chromium closed its pipe and lives on"
            asyncio.get_running_loop().call_later(_EXIT_SECONDS, self.end, EndReason.BROWSER_CRASHED, why)

    def end(self, reason: EndReason, message: str) -> None:
        """End the agent, unless it is ending already; a running step answers `ended`."""
        if not self.ended.done():
            self.ended.set_result(Termination(reason=reason, message=message))
            if self._alarm is not None:
                self._alarm.stop()

    async def close(self) -> None:
        """Close the page and Chromium."""
        if self._replacing is not None:
            self._replacing.cancel()
        if hasattr(self, "_page"):
            self._page.close()
        await self._browser.close()

    # The page.

    def _follow(self, page: Page) -> None:
        self._page = page
        page.lost.add_done_callback(lambda lost: self._page_lost(page, lost))

    def _page_lost(self, page: Page, lost: asyncio.Future[str]) -> None:
        if lost.cancelled() or self.ended.done() or self._browser.connection.is_closed:
            return
        if self._oom_kills.any:  # the next page would meet the same end, and its step the same silence
            self.end(EndReason.OUT_OF_MEMORY, f"the memory limit is reached: {lost.result()}")
        else:
            self._give_up(page, f"lost: {lost.result()}")

    def _give_up(self, page: Page, why: str) -> None:
        """Have a page replaced, once: one that is stuck in a script may crash while it is asked whether it is."""
        if page is self._page and page is not self._given_up:
            logs.error("page given up", why=why)
            self._given_up = page
            self._replacing = asyncio.create_task(self._replace_page(page))

    async def _replace_page(self, old: Page) -> None:
        old.close()
        try:
            page = await open_page(self._browser)
            if self._device is not None:
                await page.show(self._device, self._browser.version.user_agent)
        except (CdpFailure, StepError) as error:
            self.end(EndReason.BROWSER_CRASHED, f"no page could be opened after one was lost: {error}")
            return
        self._follow(page)
        await self._browser.close_page(old.target)
        logs.info("page replaced")

    async def _current_page(self) -> Page:
        """Return the page, waiting for one that is being replaced."""
        if self._replacing is not None:
            await asyncio.shield(self._replacing)
        return self._page

    async def _responsive_page(self) -> Page:
        """Return a page that answers; one that is stuck in a script is replaced (only navigate may lose it)."""
        page = await self._current_page()
        if not await page.responsive():
            self._give_up(page, "stuck")
        return await self._current_page()

    # Calls.

    async def health(self) -> tuple[Health, bool]:
        """Return the state, and whether sessions are served: Chromium answers now, and the sandbox is proven."""
        alive = self._ready.done() and not self.ended.done()
        if alive:
            try:
                await self._browser.ping(_HEALTH_SECONDS)
            except CdpFailure:
                alive = False
        return Health(state=self._state(), browser=self._browser.version.product, sandbox=self._sandbox), alive

    def _state(self) -> AgentState:
        if self.ended.done():
            return AgentState.ENDING
        if not self._ready.done():
            return AgentState.STARTING
        return AgentState.WARM if self._holder is None else AgentState.CLAIMED

    async def claim(self, claim: Claim) -> Claimed:
        """Give the pod to a session; the first wins, for good, and may ask again.

        Raises:
            StepError: holder-conflict, starting, ended, invalid (the device) or browser-failed.
        """
        await self._wait_until_ready()
        if self._holder is None:
            self._hold(claim)
        elif self._holder != claim.session:
            raise self._holder_conflict()
        async with self._showing:
            if self._device is None:
                try:
                    page = await self._current_page()
                    await page.show(claim.device, self._browser.version.user_agent)
                except CdpFailure as error:
                    raise StepError(ProblemCode.BROWSER_FAILED, f"the page was lost: {error}") from error
                self._device = claim.device
        return Claimed(session=claim.session, browser=self._browser.version.product, sandbox=self._sandbox)

    def _hold(self, claim: Claim) -> None:
        self._holder = claim.session
        self._clocks = Clocks(claim.limits, asyncio.get_running_loop().time())
        self._alarm = Alarm(self._clocks, self._clock_ran_out)
        logs.info("claimed", session=claim.session)

    def _clock_ran_out(self, reason: EndReason) -> None:
        what = "no step for the idle time" if reason is EndReason.IDLE else "the longest duration is reached"
        self.end(reason, what)

    async def _wait_until_ready(self) -> None:
        self._refuse_if_ended()
        await _first(self._ready, self.ended, timeout=READY_WAIT_SECONDS)
        self._refuse_if_ended()
        if not self._ready.done():
            raise StepError(ProblemCode.STARTING, "the browser is starting")

    def activity(self, session: str) -> Activity:
        """Return what the session does now."""
        clocks = self._held_by(session)
        idle = clocks.idle_seconds(asyncio.get_running_loop().time())
        return Activity(session=session, step=self._step, idle_seconds=round(idle, 3))

    async def navigate(self, session: str, request: Navigate) -> Navigated:
        """Run the navigate step.

        Raises:
            StepError: invalid, not-found, holder-conflict, step-running, ended, page-failed, timeout,
                browser-failed.
        """
        url = check_url(request.url, own_addresses(), socket.gethostname())

        async def work() -> Navigated:
            deadline = Deadline(request.timeout_ms)
            page = await _in_time(self._responsive_page(), deadline)
            return await page.navigate(request, url, deadline)

        return await self._run(session, "navigate", work)

    async def capture(self, session: str, request: Capture) -> Captured:
        """Run the capture step.

        Raises:
            StepError: not-found, holder-conflict, step-running, ended, page-failed, timeout, too-large,
                browser-failed.
        """

        async def work() -> Captured:
            deadline = Deadline(request.timeout_ms)
            page = await _in_time(self._current_page(), deadline)
            try:
                return await capture(page.target, request, deadline)
            except StepError as error:
                if error.problem.code is ProblemCode.TIMEOUT:
                    await page.missed_deadline()
                raise

        return await self._run(session, "capture", work)

    async def _run(self, session: str, name: str, work: Callable[[], Awaitable[T]]) -> T:
        clocks = self._held_by(session)
        if self._step is not None:
            raise StepError(ProblemCode.STEP_RUNNING, f"a {self._step} step is running", step=self._step)
        self._step = name
        clocks.step_started()
        task = asyncio.ensure_future(work())
        try:
            await _first(task, self.ended)
            if not task.done():
                self._refuse_if_ended()
            return task.result()
        except CdpFailure as error:
            raise StepError(ProblemCode.BROWSER_FAILED, f"the page was lost: {error}") from error
        finally:
            task.cancel()
            self._step = None
            clocks.step_ended(asyncio.get_running_loop().time())
            if self._alarm is not None and not self.ended.done():
                self._alarm.reset()

    def _held_by(self, session: str) -> Clocks:
        self._refuse_if_ended()
        if self._holder is None or self._clocks is None:
            raise StepError(ProblemCode.NOT_FOUND, "no session has claimed this browser")
        if self._holder != session:
            raise self._holder_conflict()
        return self._clocks

    def _holder_conflict(self) -> StepError:
        return StepError(ProblemCode.HOLDER_CONFLICT, "another session holds this browser", holder=self._holder)

    def _refuse_if_ended(self) -> None:
        if self.ended.done():
            reason = self.ended.result().reason
            if reason in (EndReason.BROWSER_CRASHED, EndReason.OUT_OF_MEMORY):
                raise StepError(ProblemCode.BROWSER_FAILED, self.ended.result().message)
            raise StepError(ProblemCode.ENDED, f"the session has ended: {reason}", reason=reason)


async def _in_time(page: Awaitable[Page], deadline: Deadline) -> Page:
    try:
        async with asyncio.timeout(deadline.left):
            return await page
    except TimeoutError as error:
        raise deadline.problem("replacing a lost page") from error


async def _first(*futures: asyncio.Future[Any], timeout: float | None = None) -> None:
    await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"was ended by signal {-code}"
