"""The capture step: the page as PNG, as DOM snapshot, as PDF."""

from __future__ import annotations

import asyncio
from typing import Any, Final, NamedTuple

import msgspec

from driftstack_agent.browser import Target
from driftstack_agent.deadline import Deadline
from driftstack_agent.errors import CdpError, CommandTimeout, MessageTooLarge, StepError
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


async def capture(target: Target, request: Capture, deadline: Deadline) -> Captured:
    """Capture a page, until the deadline.

    Raises:
        StepError: timeout, too-large (limit_bytes, size_bytes) or page-failed.
        CdpFailure: the page or Chromium is gone.
    """
    try:
        data = await _take_shown(target, request, deadline)
    except CommandTimeout as error:
        raise deadline.problem(f"the {request.kind} capture") from error
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


async def _take_shown(target: Target, request: Capture, deadline: Deadline) -> bytes:
    """Capture; try again while Chromium changes documents: a failed load is told before its error page is shown."""
    give_up = max(deadline.left - _NOT_SHOWN_SECONDS, 0)
    while True:
        try:
            return await _take(target, request, deadline)
        except CdpError as error:
            if error.message != _NOT_SHOWN or deadline.left <= give_up:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)


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
