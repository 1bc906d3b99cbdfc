"""The wire of the steps that act on a page and read it. The bounds are those of the agent's protocol."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo

from driftstack_api.sessions.schemas import (
    TIME_EXAMPLE,
    WHOLE,
    AnswerModel,
    Duration,
    Notices,
    RequestModel,
    Time,
)
from driftstack_common.protocol_steps import (
    PATTERN_LIMIT,
    SCROLL_LIMIT,
    SELECTOR_LIMIT,
    TEXT_LIMIT,
)

SELECTOR_NOTE: Final = (
    "CSS; also finds what is in open shadow roots and same-origin frames. `a >>> b` is b anywhere inside a."
)
NAME_LIMIT: Final = 200
"""Most characters of an extraction's or field's name."""
FIELDS_LIMIT: Final = 100
"""Most fields of a list's elements."""

Selector = Annotated[str, Field(min_length=1, max_length=SELECTOR_LIMIT, description=SELECTOR_NOTE)]
Name = Annotated[str, Field(min_length=1, max_length=NAME_LIMIT)]
Distance = Annotated[int, Field(ge=-SCROLL_LIMIT, le=SCROLL_LIMIT, description="CSS pixels; 0 without it."), WHOLE]


class TapAction(RequestModel):
    """Click an element, or touch it on a touch device."""

    kind: Literal["tap"]
    selector: Selector


class TypeAction(RequestModel):
    """Tap an element that takes text, and type at the end of what it holds."""

    kind: Literal["type"]
    selector: Selector
    text: str = Field(max_length=TEXT_LIMIT)
    delay_ms: Annotated[int, Field(ge=0, le=500), WHOLE] | None = Field(
        default=None, description="Pause after each character; the session's pace without it."
    )
    sensitive: bool | None = Field(
        default=None, description="The text is a secret: notices hold no texts of pages."
    )


class ScrollAction(RequestModel):
    """Scroll an element, or what is in the middle of the page."""

    kind: Literal["scroll"]
    selector: Selector | None = None
    delta_x: Distance | None = None
    delta_y: Distance | None = None


class PressAction(RequestModel):
    """Press a key, in whatever has the focus."""

    kind: Literal["press"]
    key: str = Field(
        min_length=1, max_length=20, description="A character, Enter, Tab, Escape, ArrowLeft, F1, Control+A, …"
    )


class InteractRequest(RequestModel):
    """Body of an interact."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"action": {"kind": "tap", "selector": "#submit"}},
                {"action": {"kind": "type", "selector": "#password", "text": "hunter2", "sensitive": True}},
                {"action": {"kind": "scroll", "delta_y": 600}},
                {"action": {"kind": "press", "key": "Enter"}, "timeout_ms": 2000},
            ]
        }
    )
    UNION: ClassVar = "action"

    action: TapAction | TypeAction | ScrollAction | PressAction = Field(discriminator="kind")
    timeout_ms: Annotated[int, Field(ge=100, le=60_000), WHOLE] | None = Field(
        default=None, description="Milliseconds the step may take; 30000 without it."
    )


class SelectorCondition(RequestModel):
    """An element that matches is visible."""

    kind: Literal["selector"]
    selector: Selector


class SelectorHiddenCondition(RequestModel):
    """No element that matches is visible."""

    kind: Literal["selector_hidden"]
    selector: Selector


class UrlMatchesCondition(RequestModel):
    """The page's URL contains a match."""

    kind: Literal["url_matches"]
    pattern: str = Field(min_length=1, max_length=PATTERN_LIMIT, description="A regular expression of JavaScript.")


class TimeCondition(RequestModel):
    """So many milliseconds have passed."""

    kind: Literal["time"]
    ms: Annotated[int, Field(ge=0, le=60_000), WHOLE]


class WaitRequest(RequestModel):
    """Body of a wait."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"condition": {"kind": "selector", "selector": "#result"}, "timeout_ms": 5000},
                {"condition": {"kind": "selector_hidden", "selector": ".spinner"}},
                {"condition": {"kind": "url_matches", "pattern": "/orders/[0-9]+$"}},
                {"condition": {"kind": "time", "ms": 500}},
            ]
        }
    )
    UNION: ClassVar = "condition"

    condition: SelectorCondition | SelectorHiddenCondition | UrlMatchesCondition | TimeCondition = Field(
        discriminator="kind"
    )
    timeout_ms: Annotated[int, Field(ge=100, le=120_000), WHOLE] | None = Field(
        default=None, description="Milliseconds to wait at most; 30000 without it."
    )


def _named(attribute: str | None, info: ValidationInfo) -> str | None:
    if attribute is None and info.data.get("type") == "attribute":
        raise ValueError("type attribute needs the attribute's name")
    return attribute


Attribute = Annotated[
    Annotated[str, Field(min_length=1, max_length=NAME_LIMIT)] | None,
    AfterValidator(_named),
    Field(validate_default=True, description="The attribute's name, for type attribute."),
]


class ExtractField(RequestModel):
    """A value in each element of a list; of the element itself without a selector."""

    type: Literal["text", "attribute"]
    attribute: Attribute = None
    selector: Selector | None = None


def _of_list(fields: dict[str, ExtractField] | None, info: ValidationInfo) -> dict[str, ExtractField] | None:
    if fields is not None and info.data.get("type") != "list":
        raise ValueError("only a list has fields")
    return fields


class Extraction(RequestModel):
    """A value of the page: a text, an attribute, or a list of these or of objects."""

    name: Name
    selector: Selector
    type: Literal["text", "attribute", "list"]
    attribute: Attribute = None
    transform: Literal["number"] | None = Field(default=None, description="Read texts as numbers.")
    extract: (
        Annotated[dict[Name, ExtractField], Field(min_length=1, max_length=FIELDS_LIMIT), AfterValidator(_of_list)]
        | None
    ) = Field(default=None, description="For a list: the fields of each element.")


def _distinct(extractions: list[Extraction]) -> list[Extraction]:
    name, times = Counter(each.name for each in extractions).most_common(1)[0]
    if times > 1:
        raise ValueError(f"the name {name!r} is there {times} times")
    return extractions


class ExtractRequest(RequestModel):
    """Body of an extract."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "extractions": [
                        {"name": "title", "selector": "h1", "type": "text"},
                        {"name": "price", "selector": ".price", "type": "text", "transform": "number"},
                        {
                            "name": "rows",
                            "selector": "table tr",
                            "type": "list",
                            "extract": {"city": {"type": "text", "selector": "td"}},
                        },
                    ]
                }
            ]
        }
    )

    extractions: Annotated[list[Extraction], Field(min_length=1, max_length=100), AfterValidator(_distinct)]


class InteractResult(AnswerModel):
    """The interaction is done."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ok": True, "duration_ms": 87, "notices": []}]})

    ok: Literal[True] = True
    duration_ms: Duration
    notices: Notices = Field(default_factory=list)


class WaitResult(AnswerModel):
    """Whether the condition was met in time."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"satisfied": True, "duration_ms": 1204, "notices": []}]}
    )

    satisfied: bool = Field(description="False when time was up first, which is a success too.")
    duration_ms: Duration
    notices: Notices = Field(default_factory=list)


class ExtractResult(AnswerModel):
    """The values by name; null where nothing matched."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"value": {"title": "Weather", "price": 3.5, "rows": [{"city": "Oslo"}, {"city": "Rome"}]}}
            ]
        }
    )

    value: dict[str, Any]


class CookieObject(AnswerModel):
    """A cookie; expires in seconds since 1970, null for one that ends with the session."""

    name: str
    value: str
    domain: str
    path: str
    expires: float | None
    http_only: bool
    secure: bool
    same_site: Literal["Strict", "Lax", "None"] | None


class PageError(AnswerModel):
    """Why the page is not what was asked for."""

    kind: Literal["http", "tls", "dns", "net", "timeout"]
    http_status: int | None = Field(default=None, ge=100, le=599)
    message: str = Field(max_length=500)


class PageProgress(AnswerModel):
    """How far the page is."""

    state: Literal["loading", "loaded", "errored"]
    error: PageError | None = None


class StateResult(AnswerModel):
    """The page in front: what it is, and what the browser has stored; local storage is its origin's."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "url": "https://example.com/",
                    "title": "Example Domain",
                    "cookies": [
                        {
                            "name": "id",
                            "value": "a3fWa",
                            "domain": "example.com",
                            "path": "/",
                            "expires": 1800000000.5,
                            "http_only": True,
                            "secure": True,
                            "same_site": "Lax",
                        }
                    ],
                    "local_storage": {"theme": "dark"},
                    "page_state": {"state": "loaded", "error": None},
                    "captured_at": TIME_EXAMPLE,
                }
            ]
        }
    )

    url: str
    title: str
    cookies: list[CookieObject]
    local_storage: dict[str, str]
    page_state: PageProgress
    captured_at: Time
