"""The wire: what `/v1/sessions` takes and gives. Strict: nothing is converted, unknown keys are refused."""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from fastapi import Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from driftstack_common.protocol import NOTICE_LIMIT, URL_LIMIT

METADATA_LIMIT: Final = 16 * 1024
"""Most bytes of a session's metadata, as compact JSON in UTF-8."""
DEFAULT_TIMEOUT_MS: Final = 30_000
_INTEGERS: Final = range(-(2**63), 2**63)

UUID_PATTERN: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
SESSION_EXAMPLE: Final = "ses_9d2f0c1e-5b7a-4f0e-8a3d-2c6b1e4f7a90"
CURSOR_EXAMPLE: Final = "AQAAAZ4b1jQAnS8MHlt6Tw6KPSxrHk96kKhm0P1kCA"
CREATED_EXAMPLE: Final = "2026-05-12T12:00:00.000Z"
TIME_EXAMPLE: Final = "2026-05-12T12:00:08.000Z"

# What has another form is no session's id, which is a 404 as any unknown one: the pattern is not enforced.
SessionId = Annotated[
    str,
    Path(
        description="Id of the session.",
        examples=[SESSION_EXAMPLE],
        json_schema_extra={"pattern": f"^ses_{UUID_PATTERN}$"},
    ),
]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339, UTC, milliseconds."""


def check_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Refuse what can't be stored and given back as it came; raise ValueError."""
    _check_numbers(metadata)
    size = len(json.dumps(metadata, separators=(",", ":"), ensure_ascii=False).encode())
    if size > METADATA_LIMIT:
        raise ValueError(f"Should have at most {METADATA_LIMIT} bytes as JSON, not {size}")
    return metadata


def check_url(url: str) -> str:
    """Let through what a page can be loaded from: http, https, or exactly about:blank; raise ValueError."""
    if url == "about:blank":
        return url
    if any(character <= " " or character == "\x7f" for character in url):
        raise ValueError("Should have no spaces or control characters; write a space as %20")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("Should have a host, and a port from 1 to 65535 if any") from error
    if parts.scheme not in ("http", "https"):
        raise ValueError("Should be a whole URL: http, https or exactly about:blank")
    if not host or port == 0:
        raise ValueError("Should have a host, and a port from 1 to 65535 if any")
    return url


def _check_numbers(value: Any) -> None:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check_numbers(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("Numbers should be finite: JSON has no NaN and no infinity")
    elif isinstance(value, int) and value not in _INTEGERS:
        raise ValueError("Whole numbers should fit in 64 bits; send larger ones as strings")


def _whole(number: Any) -> Any:
    """Take 5000.0 for 5000, which are one number in JSON, and integers by JSON Schema."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


WHOLE: Final = BeforeValidator(_whole)
"""Put last into the annotation of an int, or its bounds are lost to the schema."""


class RequestModel(BaseModel):
    """Base of request bodies.

    Attributes:
        UNION: the field, if there is one, whose `kind` says which model it is.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    UNION: ClassVar[str] = ""


class AnswerModel(BaseModel):
    """Base of answers: every field is always there."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class CreateSession(RequestModel):
    """Body of a create; null means the same as leaving a key out."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {},
                {"label": "ticket-JIRA-1234", "metadata": {"ticket": "JIRA-1234"}},
                {"archetype": "default", "purpose": "production_customer", "behavioral_profile": "casual"},
            ]
        }
    )

    archetype: Annotated[str, Field(pattern="^[a-z0-9_]{3,60}$")] | None = Field(
        default=None, description="Slug of the device to show to pages; the account's default without it."
    )
    purpose: Literal["production_customer"] | None = Field(
        default=None, description="What the session is for; there is one value, which is the default."
    )
    label: Annotated[str, Field(max_length=120)] | None = Field(
        default=None, description="A note of your own, up to 120 characters (code points)."
    )
    metadata: Annotated[dict[str, Any], AfterValidator(check_metadata)] | None = Field(
        default=None, description="Any JSON object, at most 16 KiB; comes back as it is."
    )
    profile_id: str | None = Field(
        default=None, description="A profile of the account. There are none yet: any value is 404."
    )
    behavioral_profile: Literal["casual", "regular", "power_user"] | None = Field(
        default=None, description="Pace of typing and pointer movement; regular without it."
    )


class NavigateRequest(RequestModel):
    """Body of a navigate."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"url": "https://example.com", "wait_until": "load"},
                {"url": "https://example.com/search?q=tea", "wait_until": "networkidle", "timeout_ms": 60000},
                {"url": "about:blank"},
            ]
        }
    )

    url: Annotated[str, Field(min_length=1, max_length=URL_LIMIT), AfterValidator(check_url)] = Field(
        description="http, https or exactly about:blank; not the browser's own pod, in any spelling. A user and "
        "password in it are given to the site, and appear in no log.",
        json_schema_extra={"pattern": "^([hH][tT][tT][pP][sS]?://[^/?#]|about:blank$)"},
    )
    wait_until: Literal["load", "domcontentloaded", "networkidle"] | None = Field(
        default=None, description="What to wait for; load without it."
    )
    timeout_ms: Annotated[int, Field(ge=1000, le=120_000), WHOLE] | None = Field(
        default=None, description="Milliseconds the step may take; 30000 without it."
    )


class CaptureRequest(RequestModel):
    """Body of a capture."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"kind": "screenshot"}, {"kind": "screenshot", "full_page": True}, {"kind": "pdf"}]
        }
    )

    kind: Literal["screenshot", "dom_snapshot", "pdf"] = Field(
        description="PNG; JSON of the document with layout and styles; PDF."
    )
    full_page: bool | None = Field(
        default=None, description="Screenshots only: all of the page, not what is visible."
    )


def digits(text: Any) -> Any:
    """Refuse what pydantic would take for a number too: ` 5`, `1_0`, `5.0`, digits of other scripts."""
    if isinstance(text, str) and not re.fullmatch("-?[0-9]{1,9}", text):
        raise ValueError("Should be a whole number")
    return text


class PageQuery(BaseModel):
    """Query of a list; numbers come as text here, so it is not strict."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100), BeforeValidator(digits)] = Field(
        default=50, description="Most entries of the page."
    )
    cursor: str | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        description="`next_cursor` of the page before.",
    )


class SessionObject(AnswerModel):
    """A session: live, or in the history."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": SESSION_EXAMPLE,
                    "account_id": "acc_1f6a3b52-8c4d-4e7f-9a0b-3d5c7e9f1a2b",
                    "api_key_id": "key_7b3e5d1c-2a4f-4c6e-8b9d-0f1a2c3e4d5b",
                    "status": "ready",
                    "archetype": "default",
                    "purpose": "production_customer",
                    "label": "ticket-JIRA-1234",
                    "metadata": {"ticket": "JIRA-1234"},
                    "created_at": CREATED_EXAMPLE,
                    "updated_at": TIME_EXAMPLE,
                    "last_state_at": TIME_EXAMPLE,
                    "destroyed_at": None,
                    "egress_capabilities": None,
                    "egress_capability_report": None,
                    "connect_url": f"wss://driftstack.example.com/v1/sessions/{SESSION_EXAMPLE}/cdp",
                }
            ]
        }
    )

    id: str = Field(pattern=f"^ses_{UUID_PATTERN}$")
    account_id: str = Field(pattern=f"^acc_{UUID_PATTERN}$")
    api_key_id: str = Field(
        pattern=f"^key_{UUID_PATTERN}$",
        description="The key that made it; of all zeros for sessions made with kubectl.",
    )
    status: Literal["creating", "ready", "busy", "destroyed", "errored"] = Field(
        description="creating → ready ⇄ busy → destroyed, or errored from any; the last two are final."
    )
    archetype: str = Field(pattern="^[a-z0-9_]{3,60}$", description="Slug of the device that pages see.")
    purpose: Literal["production_customer"]
    label: str | None
    metadata: dict[str, Any] | None
    created_at: Time
    updated_at: Time
    last_state_at: Time | None = Field(description="Last change of status; null until the first.")
    destroyed_at: Time | None = Field(description="End of the session, also when it errored; null until then.")
    egress_capabilities: None = Field(default=None, description="Always null.")
    egress_capability_report: None = Field(default=None, description="Always null.")
    connect_url: str | None = Field(
        description="The DevTools WebSocket, without a token; null while creating and after the end."
    )


class SessionPage(AnswerModel):
    """A page of sessions, newest first."""

    data: list[SessionObject]
    has_more: bool
    next_cursor: str | None = Field(
        max_length=512, description="`cursor` of the next page; null on the last one.", examples=[CURSOR_EXAMPLE]
    )


class NoticeObject(AnswerModel):
    """Something the page wanted of a person during the step, and what became of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"kind": "popup", "outcome": "front", "text": "", "url": "https://example.com/help"}]
        }
    )

    kind: Literal["alert", "confirm", "prompt", "beforeunload", "popup", "download", "file_chooser"]
    outcome: Literal["accepted", "dismissed", "front", "background", "closed", "refused", "cancelled"]
    text: str = Field(description="A dialog's message, a download's file name.")
    url: str = Field(description="A popup's or download's.")


Duration = Annotated[int, Field(ge=0, description="How long it took, in milliseconds.")]
Notices = Annotated[list[NoticeObject], Field(max_length=NOTICE_LIMIT, description="What the page asked for.")]


class NavigateResult(AnswerModel):
    """Where the page went."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "url": "http://example.com/",
                    "status": 200,
                    "final_url": "https://example.com/",
                    "duration_ms": 412,
                    "notices": [],
                }
            ]
        }
    )

    url: str = Field(description="What was asked for.")
    status: int = Field(
        ge=100, le=999, description="HTTP status of the main document, after redirects; 200 for about:blank."
    )
    final_url: str = Field(description="Where redirects led to.")
    duration_ms: Duration
    notices: Notices = Field(default_factory=list)


class CaptureResult(AnswerModel):
    """A capture, inline."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "screenshot",
                    "data": "iVBORw0KGgo=",
                    "encoding": "base64",
                    "byte_size": 8,
                    "duration_ms": 95,
                }
            ]
        }
    )

    kind: Literal["screenshot", "dom_snapshot", "pdf"]
    data: str = Field(json_schema_extra={"contentEncoding": "base64"})
    encoding: Literal["base64"] = "base64"
    byte_size: int = Field(ge=0, description="Size before base64.")
    duration_ms: Duration
