"""The wire: what `/v1/api-keys` takes and gives."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from fastapi import Path
from pydantic import AfterValidator, ConfigDict, Field

from driftstack_api.sessions.schemas import (
    CREATED_EXAMPLE,
    TIME_EXAMPLE,
    UUID_PATTERN,
    AnswerModel,
    RequestModel,
    Time,
)
from driftstack_common.times import now, parse_time

Scope = Literal[
    "read",
    "write",
    "account_owner",
    "read:sessions",
    "write:sessions",
    "read:profiles",
    "write:profiles",
    "read:webhooks",
    "read:api-keys",
    "admin:api-keys",
]
MOST_SCOPES: Final = 19
KEY_ID_EXAMPLE: Final = "key_7b3e5d1c-2a4f-4c6e-8b9d-0f1a2c3e4d5b"
KEY_EXAMPLE: Final[dict[str, Any]] = {
    "id": KEY_ID_EXAMPLE,
    "name": "CI pipeline",
    "key_prefix": "ds_live_Xy3k",
    "scopes": ["read:sessions", "write:sessions"],
    "last_used_at": TIME_EXAMPLE,
    "revoked_at": None,
    "expires_at": None,
    "created_at": CREATED_EXAMPLE,
}

# As for sessions: what has another form is a 404.
KeyId = Annotated[
    str,
    Path(
        description="Id of the API key.",
        examples=[KEY_ID_EXAMPLE],
        json_schema_extra={"pattern": f"^key_{UUID_PATTERN}$"},
    ),
]
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_TIME_OR_NULL: Final[dict[str, Any]] = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}


def check_scopes(scopes: list[Scope]) -> list[Scope]:
    """Refuse a scope that is there twice; raise ValueError."""
    if len(set(scopes)) < len(scopes):
        raise ValueError("Should have each scope once")
    return scopes


def check_expiry(text: str) -> str:
    """Refuse what is no time (RFC 3339), or none to come; raise ValueError."""
    try:
        moment = parse_time(text.upper()) if _TIME.fullmatch(text) else None
    except ValueError:  # as a 30th of February
        moment = None
    if moment is None:
        raise ValueError(f"Should be a time as in {TIME_EXAMPLE}")
    if moment <= now():
        raise ValueError("Should be a time that is still to come")
    return text.upper()


class CreateKey(RequestModel):
    """Body of a create."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "CI pipeline", "scopes": ["read:sessions", "write:sessions"]},
                {"name": "a visitor", "scopes": ["read"], "expires_at": "2099-12-31T23:59:59Z"},
            ]
        }
    )

    name: Annotated[str, Field(min_length=1, max_length=120)] = Field(description="What you call it.")
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=MOST_SCOPES), AfterValidator(check_scopes)] = (
        Field(
            description="What it may do; none that the calling key may not.",
            json_schema_extra={"uniqueItems": True},
        )
    )
    expires_at: Annotated[str, AfterValidator(check_expiry)] | None = Field(
        default=None, description="From then on it is refused; never without it.", json_schema_extra=_TIME_OR_NULL
    )


class KeyObject(AnswerModel):
    """A key as callers see it: never the key itself."""

    model_config = ConfigDict(json_schema_extra={"examples": [KEY_EXAMPLE]})

    id: str = Field(pattern=f"^key_{UUID_PATTERN}$")
    name: str
    key_prefix: str = Field(description="First characters of the key, to know it again.")
    scopes: list[str]
    last_used_at: Time | None = Field(description="When a call was last made with it, to the minute.")
    revoked_at: Time | None
    expires_at: Time | None
    created_at: Time


class NewKey(KeyObject):
    """A key that was just made; the only answer that ever has the key itself."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **KEY_EXAMPLE,
                    "last_used_at": None,
                    "plaintext": "ds_live_Xy3kV1mB0pQ7rT2wZ5uN8sJ4hG6fD9cA1eL3oK0iRtY",
                }
            ]
        }
    )

    plaintext: str = Field(description="The key. Keep it: it is not shown again.")


class KeyList(AnswerModel):
    """All keys of an account, newest first, revoked and expired ones included."""

    data: list[KeyObject]
