"""The agent's protocol, continued: the steps that act on a page and read it. See `protocol`.

What these bound (lengths, counts, times) is bounded the same at the facade, which tells callers which field it was.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from driftstack_common.protocol import Answer, Message, Notice, TimeoutMs

TEXT_LIMIT: Final = 10_000
"""Most characters to type in one step."""
SELECTOR_LIMIT: Final = 4096
"""Most characters of a selector."""
PATTERN_LIMIT: Final = 2048
"""Most characters of a regular expression."""
SCROLL_LIMIT: Final = 100_000
"""Farthest scroll of one step, CSS pixels."""

Selector = Annotated[str, Meta(min_length=1, max_length=SELECTOR_LIMIT)]


class Tap(Message, frozen=True, kw_only=True, tag_field="kind", tag="tap"):
    """Click an element, or touch it on a touch device."""

    selector: Selector


class Type(Message, frozen=True, kw_only=True, tag_field="kind", tag="type"):
    """Tap an element that takes text, and type at the end of what it holds.

    Attributes:
        delay_ms: the pause after each character; None leaves it to the session's pace.
        sensitive: the text is a secret; pages may show it, but the step's notices say nothing.
    """

    selector: Selector
    text: Annotated[str, Meta(max_length=TEXT_LIMIT)]
    delay_ms: Annotated[int, Meta(ge=0, le=500)] | None = None
    sensitive: bool = False


class Scroll(Message, frozen=True, kw_only=True, tag_field="kind", tag="scroll"):
    """Scroll an element, or what is in the middle of the page, by CSS pixels."""

    selector: Selector | None = None
    delta_x: Annotated[int, Meta(ge=-SCROLL_LIMIT, le=SCROLL_LIMIT)] = 0
    delta_y: Annotated[int, Meta(ge=-SCROLL_LIMIT, le=SCROLL_LIMIT)] = 0


class Press(Message, frozen=True, kw_only=True, tag_field="kind", tag="press"):
    """Press a key, e.g. `Enter`, `a`, `Control+A`, in whatever has the focus."""

    key: Annotated[str, Meta(min_length=1, max_length=20)]


class Interact(Message, frozen=True, kw_only=True):
    """Do something as a person would."""

    action: Tap | Type | Scroll | Press
    timeout_ms: TimeoutMs = 30_000


class Interacted(Answer, frozen=True, kw_only=True):
    """It is done."""

    duration_ms: int
    notices: list[Notice] = []


class SelectorShown(Message, frozen=True, kw_only=True, tag_field="kind", tag="selector"):
    """An element that matches is visible."""

    selector: Selector


class SelectorHidden(Message, frozen=True, kw_only=True, tag_field="kind", tag="selector_hidden"):
    """No element that matches is visible."""

    selector: Selector


class UrlMatches(Message, frozen=True, kw_only=True, tag_field="kind", tag="url_matches"):
    """The page's URL contains a match of a regular expression, as JavaScript reads it."""

    pattern: Annotated[str, Meta(min_length=1, max_length=PATTERN_LIMIT)]


class Elapsed(Message, frozen=True, kw_only=True, tag_field="kind", tag="time"):
    """So many milliseconds have passed."""

    ms: Annotated[int, Meta(ge=0, le=60_000)]


class Wait(Message, frozen=True, kw_only=True):
    """Wait for a condition; one that isn't met in time is an answer, not a failure."""

    condition: SelectorShown | SelectorHidden | UrlMatches | Elapsed
    timeout_ms: TimeoutMs = 30_000


class Waited(Answer, frozen=True, kw_only=True):
    """Whether the condition was met."""

    satisfied: bool
    duration_ms: int
    notices: list[Notice] = []


class Field(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A value in an element of a list: of the element itself without a selector."""

    type: Literal["text", "attribute"]
    selector: Selector | None = None
    attribute: str | None = None


class Extraction(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A value of the page, by name.

    Attributes:
        attribute: which one, for type attribute; for a list without `extract`, the one to list instead of texts.
        transform: read the text as a number.
        extract: for a list: the fields of each of its elements.
    """

    name: str
    selector: Selector
    type: Literal["text", "attribute", "list"]
    attribute: str | None = None
    transform: Literal["number"] | None = None
    extract: dict[str, Field] | None = None


class Extract(Message, frozen=True, kw_only=True):
    """Read values from the page."""

    extractions: Annotated[list[Extraction], Meta(min_length=1, max_length=100)]
    timeout_ms: TimeoutMs = 30_000


class Extracted(Answer, frozen=True, kw_only=True):
    """The values by name: text, number, list of these or of objects; None where nothing matched."""

    value: dict[str, Any]


class State(Message, frozen=True, kw_only=True):
    """Tell what the page is and what it has stored."""

    timeout_ms: TimeoutMs = 30_000


class Cookie(Answer, frozen=True, kw_only=True):
    """A cookie of the browser; expires in seconds since 1970, None for one that ends with the session."""

    name: str
    value: str
    domain: str
    path: str
    expires: float | None
    http_only: bool
    secure: bool
    same_site: Literal["Strict", "Lax", "None"] | None


class LoadError(Answer, frozen=True, kw_only=True):
    """Why the page is not what was asked for; message is Chromium's text."""

    kind: Literal["http", "tls", "dns", "net", "timeout"]
    message: str
    http_status: int | None = None


class Loading(Answer, frozen=True, kw_only=True):
    """How far the page is."""

    state: Literal["loading", "loaded", "errored"]
    error: LoadError | None = None


class PageState(Answer, frozen=True, kw_only=True):
    """The session's page; local_storage is that of its origin, cookies are all of the browser's."""

    url: str
    title: str
    cookies: list[Cookie]
    local_storage: dict[str, str]
    page_state: Loading
    captured_at: str
