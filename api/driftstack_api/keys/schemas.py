"""The wire: what `/v1/api-keys` takes and gives."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from driftstack_api.sessions.schemas import TIME_EXAMPLE, UUID_PATTERN, RequestModel
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
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_TIME_OR_NULL: Final[dict[str, Any]] = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}


def check_scopes(scopes: list[Scope]) -> list[Scope]:
    """Refuse a scope that is there twice; raise ValueError."""
    if len(set(scopes)) < len(scopes):
        raise ValueError("each scope once")
    return scopes


def check_expiry(text: str) -> str:
    """Refuse what is no time (RFC 3339), or none to come; raise ValueError."""
    if not _TIME.fullmatch(text):
        raise ValueError(f"a time as in {TIME_EXAMPLE}")
    if parse_time(text.upper()) <= now():
        raise ValueError("a time that is still to come")
    return text.upper()


class CreateKey(RequestModel):
    """Body of a create."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "CI pipeline", "scopes": ["read:sessions", "write:sessions"]}}
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


class KeyObject(BaseModel):
    """A key as callers see it: never the key itself."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "key_7b3e5d1c-2a4f-4c6e-8b9d-0f1a2c3e4d5b",
                "name": "CI pipeline",
                "key_prefix": "ds_live_Xy3k",
                "scopes": ["read:sessions", "write:sessions"],
                "last_used_at": TIME_EXAMPLE,
                "revoked_at": None,
                "expires_at": None,
                "created_at": TIME_EXAMPLE,
            }
        }
    )

    id: str = Field(pattern=f"^key_{UUID_PATTERN}$")
    name: str
    key_prefix: str = Field(description="First characters of the key, to know it again.")
    scopes: list[str]
    last_used_at: str | None = Field(description="When a call was last made with it, to the minute.")
    revoked_at: str | None
    expires_at: str | None
    created_at: str


class NewKey(KeyObject):
    """A key that was just made; the only answer that ever has the key itself."""

    plaintext: str = Field(description="The key. Keep it: it is not shown again.")


class KeyList(BaseModel):
    """All keys of an account, newest first, revoked and expired ones included."""

    data: list[KeyObject]
