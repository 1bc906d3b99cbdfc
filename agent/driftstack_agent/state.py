"""The state step: what the page in front is, how far it is loaded, and what the browser has stored for it."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from driftstack_agent.deadline import Deadline
from driftstack_agent.errors import MessageTooLarge, ScriptError
from driftstack_agent.extraction import too_large
from driftstack_agent.navigation import MainFrame
from driftstack_agent.page import Page
from driftstack_agent.reach import script_problem
from driftstack_common.protocol import DOCUMENT_LIMIT
from driftstack_common.protocol_steps import Cookie, LoadError, Loading, PageState
from driftstack_common.times import format_time, now

_Kind = Literal["dns", "tls", "timeout", "net"]
_KINDS: Final[tuple[tuple[str, _Kind], ...]] = (
    ("ERR_NAME_", "dns"),
    ("ERR_DNS_", "dns"),
    ("ERR_CERT_", "tls"),
    ("ERR_SSL_", "tls"),
    ("TIMED_OUT", "timeout"),
)


class _Cookie(msgspec.Struct, rename="camel"):
    name: str
    value: str
    domain: str
    path: str
    expires: float = -1
    http_only: bool = False
    secure: bool = False
    session: bool = False
    same_site: Literal["Strict", "Lax", "None"] | None = None


class _Cookies(msgspec.Struct):
    cookies: list[_Cookie]


class _Document(msgspec.Struct):
    title: str
    storage: list[tuple[str, str]]


async def read_state(page: Page, deadline: Deadline) -> PageState:
    """Return the page's state.

    Raises:
        StepError: too-large.
        CdpFailure: the page doesn't answer, or is gone.
    """
    try:
        document = await page.world.call(_Document, "state", {"limit": DOCUMENT_LIMIT}, deadline)
        stored = await page.target.call(_Cookies, "Storage.getCookies", timeout=deadline.left)
    except ScriptError as error:
        raise (too_large(error.size) if error.size is not None else script_problem(error, "")) from error
    except MessageTooLarge as error:
        raise too_large(error.size) from error
    return PageState(
        url=page.frame.url or "about:blank",  # a window that has loaded nothing
        title=document.title,
        cookies=[_cookie(cookie) for cookie in stored.cookies],
        local_storage=dict(document.storage),
        page_state=loading(page.frame),
        captured_at=format_time(now()),
    )


def loading(frame: MainFrame) -> Loading:
    """Return how far the shown document is, and why it isn't what was asked for."""
    document = frame.document
    if document.failure:
        kind: _Kind = next((kind for word, kind in _KINDS if word in document.failure), "net")
        return Loading(state="errored", error=LoadError(kind=kind, message=document.failure))
    if frame.status >= 400:
        error = LoadError(kind="http", message=f"HTTP {frame.status}", http_status=frame.status)
        return Loading(state="errored", error=error)
    return Loading(state="loaded" if "load" in document.milestones else "loading")


def _cookie(cookie: _Cookie) -> Cookie:
    return Cookie(
        name=cookie.name,
        value=cookie.value,
        domain=cookie.domain,
        path=cookie.path,
        expires=None if cookie.session or cookie.expires < 0 else cookie.expires,
        http_only=cookie.http_only,
        secure=cookie.secure,
        same_site=cookie.same_site,
    )
