"""The agent itself: whose pod this is, one step at a time, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec

from driftstack_agent import logs, sandbox
from driftstack_agent.addresses import own_addresses
from driftstack_agent.browser import Browser
from driftstack_agent.capture import Captured, capture
from driftstack_agent.deadline import Deadline
from driftstack_agent.devtools import DevTools
from driftstack_agent.errors import CdpFailure, CommandTimeout, StartError, StepError
from driftstack_agent.extraction import extract
from driftstack_agent.interact import interact
from driftstack_agent.lifetime import Alarm, Clocks
from driftstack_agent.memory import OomKills
from driftstack_agent.notices import Notices
from driftstack_agent.page import Page
from driftstack_agent.pages import Pages
from driftstack_agent.pointer import Person
from driftstack_agent.stages import Stages
from driftstack_agent.state import read_state
from driftstack_agent.urls import check_url
from driftstack_agent.usage import Counts, StepCounter, capture_counts
from driftstack_agent.waiting import wait
from driftstack_common.kinds.archetype import Device
from driftstack_common.protocol import (
    Activity,
    AgentState,
    Capture,
    Claim,
    Claimed,
    EndReason,
    Health,
    Holder,
    Navigate,
    Navigated,
    Prepare,
    ProblemCode,
    Sandbox,
    Termination,
)
from driftstack_common.protocol_steps import (
    Extract,
    Extracted,
    Interact,
    Interacted,
    PageState,
    State,
    Type,
    Wait,
    Waited,
)

READY_WAIT_SECONDS: Final = 2.0
"""How long a claim waits for a browser that is starting, before it answers `starting`: so a cold start needs no
polling between the agent's first answer and the browser's."""
_HEALTH_SECONDS: Final = 2.0
_EXIT_SECONDS: Final = 1.0
"""How long after its pipe Chromium may end: its exit code tells more than the closed pipe."""
_PROOF_SECONDS: Final = 3.0
"""A renderer that has just started may not have its filter yet."""
_PROOF_PAUSE_SECONDS: Final = 0.002

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
        self._stages = Stages()
        self._notices = Notices()
        self._pages = Pages(browser, self._notices, self._goes_on_without, self._pages_broken)
        self._devtools = DevTools(browser, self._pages, self.ended, self._touched)
        self._notices.attended = self._devtools.attends
        self._sandbox: Sandbox | None = None
        self._holder: str | None = None
        self._person: Person | None = None
        self._showing = asyncio.Lock()
        self._shown: Device | None = None
        self._clocks: Clocks | None = None
        self._alarm: Alarm | None = None
        self._step: str | None = None
        self._counter = StepCounter()
        browser.exited.add_done_callback(self._browser_exited)
        browser.disconnected.add_done_callback(self._browser_disconnected)

    # Start and end.

    async def start(self) -> None:
        """Connect, open the page, prove the sandbox; on failure the agent ends with the reason."""
        try:
            async with asyncio.timeout(self._start_seconds):
                await self._browser.connect()
                self._stages.reached("agent")
                await self._browser.start(self._start_seconds)
                self._stages.reached("chromium")
                await self._pages.start()
                self._sandbox = await self._prove()
                self._stages.reached("page")
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
            self.ended.set_result(Termination(reason=reason, message=message, usage=self._counter.days))
            if self._alarm is not None:
                self._alarm.stop()

    async def close(self) -> None:
        """Close the pages and Chromium."""
        self._pages.close()
        await self._browser.close()

    def _pages_broken(self, why: str) -> None:
        self.end(EndReason.BROWSER_CRASHED, why)

    def _goes_on_without(self, why: str) -> bool:
        """Whether a page that is lost is done without."""
        if self._oom_kills.any:  # the next page would meet the same end, and its step the same silence
            self.end(EndReason.OUT_OF_MEMORY, f"the memory limit is reached: {why}")
        return not self.ended.done()

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
            if self._person is None:
                await self._show(claim.device)
                self._person = Person.of(claim.pace, claim.device)
        return Claimed(
            session=claim.session,
            browser=self._browser.version.product,
            sandbox=self._sandbox,
            reached=self._stages.ago(),
        )

    async def holder(self) -> Holder:
        """Return whose pod this is.

        Raises:
            StepError: starting, ended or browser-failed.
        """
        await self._wait_until_ready()
        return Holder(session=self._holder)

    async def prepare(self, prepare: Prepare) -> Holder:
        """Show a device that the session to come is likely to have; return whose pod this is.

        What Chromium makes of the device is the affair of who claims with it.

        Raises:
            StepError: starting, ended or browser-failed.
        """
        await self._wait_until_ready()
        async with self._showing:
            if self._holder is None:
                with suppress(StepError):
                    await self._show(prepare.device)
        return Holder(session=self._holder)

    async def _show(self, device: Device) -> None:
        """Have a page that lives show the device; nothing is asked of Chromium when it does already."""
        try:
            if self._shown == device:
                await self._pages.front()
                return
            self._shown = None  # a failure may leave half of it
            await self._pages.show(device)
        except CdpFailure as error:
            raise StepError(ProblemCode.BROWSER_FAILED, f"the page was lost: {error}") from error
        self._shown = device

    def _hold(self, claim: Claim) -> None:
        self._holder = claim.session
        self._clocks = Clocks(claim.limits, asyncio.get_running_loop().time())
        self._alarm = Alarm(self._clocks, self._clock_ran_out)
        logs.info("claimed", session=claim.session)

    def _clock_ran_out(self, reason: EndReason) -> None:
        what = (
            "no step or DevTools command for the idle time"
            if reason is EndReason.IDLE
            else "the longest duration is reached"
        )
        self.end(reason, what)

    async def _wait_until_ready(self) -> None:
        self._refuse_if_ended()
        await _first(self._ready, self.ended, timeout=READY_WAIT_SECONDS)
        self._refuse_if_ended()
        if not self._ready.done():
            raise StepError(ProblemCode.STARTING, "the browser is starting")

    def activity(self, session: str) -> Activity:
        """Return what the session does now, and has done."""
        clocks = self._held_by(session)
        idle = clocks.idle_seconds(asyncio.get_running_loop().time())
        return Activity(session=session, step=self._step, idle_seconds=round(idle, 3), usage=self._counter.days)

    def devtools(self, session: str) -> DevTools:
        """Return the session's DevTools clients, to serve one more.

        Raises:
            StepError: not-found, holder-conflict, ended, browser-failed or too-many-clients.
        """
        self._held_by(session)
        self._devtools.refuse_if_full()
        return self._devtools

    def _touched(self) -> None:
        if self._clocks is not None:
            self._clocks.touched(asyncio.get_running_loop().time())

    # Steps. Each raises StepError: not-found, holder-conflict, step-running, ended, page-failed, browser-failed,
    # timeout, and what its own work says.

    async def navigate(self, session: str, request: Navigate) -> Navigated:
        """Run the navigate step; StepError also invalid."""
        url = check_url(request.url, own_addresses(), socket.gethostname())

        async def work(deadline: Deadline) -> Navigated:
            page = await _in_time(self._pages.responsive(), deadline)
            return await page.navigate(request, url, deadline)

        done = await self._run(session, "navigate", "navigate", work, request.timeout_ms)
        return msgspec.structs.replace(done, notices=self._notices.take())

    async def capture(self, session: str, request: Capture) -> Captured:
        """Run the capture step; StepError also too-large."""

        async def work(page: Page, deadline: Deadline) -> Captured:
            return await capture(page, request, deadline)

        counts = capture_counts(request.kind)
        return await self._run(session, "capture", counts, self._on_page(work), request.timeout_ms)

    async def interact(self, session: str, request: Interact) -> Interacted:
        """Run the interact step; StepError also invalid (selector, key)."""

        async def work(page: Page, deadline: Deadline) -> None:
            self._notices.silent = isinstance(request.action, Type) and request.action.sensitive
            await interact(page, request.action, self._person or Person(), deadline)
            await self._pages.adopted()

        started = Deadline(request.timeout_ms)
        await self._run(session, "interact", "interact", self._on_page(work), request.timeout_ms)
        return Interacted(duration_ms=started.elapsed_ms, notices=self._notices.take())

    async def wait(self, session: str, request: Wait) -> Waited:
        """Run the wait step; StepError also invalid (selector, pattern)."""

        async def work(deadline: Deadline) -> bool:
            return await wait(lambda: _in_time(self._pages.front(), deadline), request.condition, deadline)

        started = Deadline(request.timeout_ms)
        satisfied = await self._run(session, "wait", "wait", work, request.timeout_ms)
        return Waited(satisfied=satisfied, duration_ms=started.elapsed_ms, notices=self._notices.take())

    async def extract(self, session: str, request: Extract) -> Extracted:
        """Run the extract step; StepError also invalid (selector), too-large."""

        async def work(page: Page, deadline: Deadline) -> Extracted:
            return await extract(page, request.extractions, deadline)

        return await self._run(session, "extract", "state_capture", self._on_page(work), request.timeout_ms)

    async def state(self, session: str, request: State) -> PageState:
        """Run the state step; StepError also too-large."""
        return await self._run(session, "state", "state_capture", self._on_page(read_state), request.timeout_ms)

    def _on_page(self, work: Callable[[Page, Deadline], Awaitable[T]]) -> Callable[[Deadline], Awaitable[T]]:
        """Return work on the page in front, which is noted when it misses the deadline."""

        async def run(deadline: Deadline) -> T:
            page = await _in_time(self._pages.front(), deadline)
            try:
                return await work(page, deadline)
            except CommandTimeout as error:
                page.doubt()
                raise deadline.problem("the page's answer") from error

        return run

    async def _run(
        self,
        session: str,
        name: str,
        counts: Counts,
        work: Callable[[Deadline], Awaitable[T]],
        timeout_ms: int,
    ) -> T:
        clocks = self._held_by(session)
        if self._step is not None:
            raise StepError(ProblemCode.STEP_RUNNING, f"a {self._step} step is running", step=self._step)
        self._step = name
        clocks.step_started()
        self._notices.stepping = True
        self._pages.answer_dialogs()
        task = asyncio.ensure_future(work(Deadline(timeout_ms)))
        try:
            await _first(task, self.ended)
            if not task.done():
                self._refuse_if_ended()
            result = task.result()
            self._counter.note(counts)
            return result
        except CdpFailure as error:
            raise StepError(ProblemCode.BROWSER_FAILED, f"the page was lost: {error}") from error
        finally:
            task.cancel()
            self._notices.stepping = self._notices.silent = False
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
