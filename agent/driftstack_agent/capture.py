"""The capture step: the page as PNG, as DOM snapshot, as PDF.

A page may replace its document at any moment. What Chromium was asked of the old one then fails or, for a
screenshot, is never answered; so it is asked again. A page that does this all the time (every 20 ms, say) has no
moment long enough for a screenshot: it gets one by holding its next document back for as long as that takes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import msgspec

from driftstack_agent.browser import Target
from driftstack_agent.deadline import Deadline
from driftstack_agent.errors import CdpError, CdpFailure, MessageTooLarge, StepError
from driftstack_agent.page import Page
from driftstack_common.protocol import DOCUMENT_LIMIT, SCREENSHOT_LIMIT, Capture, ProblemCode

LIMITS: Final = {"screenshot": SCREENSHOT_LIMIT, "dom_snapshot": DOCUMENT_LIMIT, "pdf": DOCUMENT_LIMIT}
CONTENT_TYPES: Final = {"screenshot": "image/png", "dom_snapshot": "application/json", "pdf": "application/pdf"}
_STYLES: Final = ("display", "visibility", "opacity", "position", "z-index")
"""The computed styles in a DOM snapshot: those that tell whether an element is seen."""

_NOT_SHOWN: Final = "Not attached to an active page"
"""Chromium's refusal while one document replaces another: the page is there, and not yet what is shown."""
_NOT_SHOWN_SECONDS: Final = 2.0
"""How long that may last (milliseconds, on a machine that isn't busy)."""
_PAUSE_SECONDS: Final = 0.01
_ANSWER_SECONDS: Final = 0.25
"""How long an answer may take after the document it is about was replaced; longer, and it won't come."""
_RESTLESS: Final = 3
"""Documents that a capture meets before it holds the page."""


class _Replaced(Exception):
    """The document was replaced, and the answer about it didn't come."""


class Captured(NamedTuple):
    """A capture's raw bytes."""

    data: bytes
    content_type: str
    duration_ms: int


class _Data(msgspec.Struct):
    data: bytes  # base64 on the wire; msgspec decodes it in place


class _Size(msgspec.Struct):
    width: float
    height: float


class _Metrics(msgspec.Struct, rename="camel"):
    css_content_size: _Size


async def capture(page: Page, request: Capture, deadline: Deadline) -> Captured:
    """Capture a page, until the deadline.

    Raises:
        StepError: too-large (limit_bytes, size_bytes) or page-failed.
        CdpFailure: CommandTimeout at the deadline; the page or Chromium is gone.
    """
    try:
        data = await _take_shown(page, request, deadline)
    except MessageTooLarge as error:
        raise _too_large(request, error.size) from error
    except CdpError as error:
        raise StepError(ProblemCode.PAGE_FAILED, f"Chromium could not capture the page: {error.message}") from error
    if len(data) > LIMITS[request.kind]:
        raise _too_large(request, len(data))
    return Captured(data, CONTENT_TYPES[request.kind], deadline.elapsed_ms)


def _too_large(request: Capture, size: int) -> StepError:
    limit = LIMITS[request.kind]
    message = f"the {request.kind} has {size} bytes, the limit is {limit}"
    return StepError(ProblemCode.TOO_LARGE, message, limit_bytes=limit, size_bytes=size)


async def _take_shown(page: Page, request: Capture, deadline: Deadline) -> bytes:
    """Capture; try again when the document was replaced, or is about to be (a failed load's, by its error page)."""
    give_up = max(deadline.left - _NOT_SHOWN_SECONDS, 0)
    met = {page.frame.loader}
    while True:
        loader = page.frame.loader
        try:
            async with _held(page, deadline) if len(met) >= _RESTLESS else contextlib.nullcontext():
                return await _unless_replaced(page, request, deadline)
        except _Replaced:
            pass
        except CdpError as error:
            changing = error.message == _NOT_SHOWN or page.frame.loader != loader
            if not changing or (deadline.left <= give_up and len(met) < _RESTLESS) or deadline.left <= 0:
                raise
        met.add(page.frame.loader)
        await asyncio.sleep(_PAUSE_SECONDS)


async def _unless_replaced(page: Page, request: Capture, deadline: Deadline) -> bytes:
    taking = asyncio.ensure_future(_take(page.target, request, deadline))
    loader = page.frame.loader
    try:
        while not taking.done():
            replaced = page.frame.loader != loader
            await asyncio.wait((taking,), timeout=_ANSWER_SECONDS)
            if replaced and not taking.done():
                raise _Replaced
        return taking.result()
    finally:
        taking.cancel()


@contextlib.asynccontextmanager
async def _held(page: Page, deadline: Deadline) -> AsyncIterator[None]:
    """Hold the requests for other documents; they go on afterwards."""
    await page.target.send("Fetch.enable", {"patterns": [{"resourceType": "Document"}]}, deadline.left)
    try:
        yield
    finally:
        with contextlib.suppress(CdpFailure):  # the page is gone
            await page.target.send("Fetch.disable", timeout=_NOT_SHOWN_SECONDS)


async def _take(target: Target, request: Capture, deadline: Deadline) -> bytes:
    match request.kind:
        case "screenshot":
            return await _screenshot(target, deadline, full_page=request.full_page)
        case "dom_snapshot":
            params = {"computedStyles": list(_STYLES), "includeDOMRects": True}
            return bytes(await target.send("DOMSnapshot.captureSnapshot", params, timeout=deadline.left))
        case "pdf":
            params = {"printBackground": True, "preferCSSPageSize": True}
            return (await target.call(_Data, "Page.printToPDF", params, timeout=deadline.left)).data


async def _screenshot(target: Target, deadline: Deadline, *, full_page: bool) -> bytes:
    params: dict[str, Any] = {"format": "png"}
    if full_page:
        metrics = await target.call(_Metrics, "Page.getLayoutMetrics", timeout=deadline.left)
        size = metrics.css_content_size
        params["captureBeyondViewport"] = True
        params["clip"] = {"x": 0, "y": 0, "width": size.width, "height": size.height, "scale": 1}
    return (await target.call(_Data, "Page.captureScreenshot", params, timeout=deadline.left)).data
