"""Events as their receivers see them: `{id, type, created_at, data}`, and the data of each type.

An event that follows from an object has an id that follows from it too, so that it is one event whoever tells it,
and however often.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Final

import msgspec

from driftstack_common.kinds import EventType, Record
from driftstack_common.names import session_id
from driftstack_common.times import format_time

PAYLOAD_LIMIT: Final = 65_536
"""Characters of a delivery's payload, as in crds/webhookdeliveries.yaml."""


class SessionCompleted(msgspec.Struct, frozen=True, kw_only=True):
    """A session ended as it should; `reason` as in its record, e.g. `Deleted` or `IdleTimeout`."""

    session_id: str
    duration_ms: int
    reason: str
    label: str | None
    metadata: dict[str, Any] | None


class SessionFailed(msgspec.Struct, frozen=True, kw_only=True):
    """A session ended by an error.

    Attributes:
        operation: `start` when it was never ready, else `run`.
        error_name: one word, as `reason`.
        error_message: a sentence for people.
    """

    session_id: str
    duration_ms: int
    reason: str
    label: str | None
    metadata: dict[str, Any] | None
    operation: str
    error_name: str
    error_message: str


class ProfileSaveFailed(msgspec.Struct, frozen=True, kw_only=True):
    """A session ended, and its browser state could not be saved to its profile."""

    session_id: str
    profile_id: str
    label: str | None
    metadata: dict[str, Any] | None
    error_name: str
    error_message: str


class ApiKeyRevoked(msgspec.Struct, frozen=True, kw_only=True):
    """A key works no more."""

    api_key_id: str
    name: str
    revoked_at: str


class TestPing(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asked for it."""

    webhook_id: str


Data = SessionCompleted | SessionFailed | ProfileSaveFailed | ApiKeyRevoked | TestPing


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened.

    Attributes:
        id: a UUID, the same at every endpoint and in every attempt.
        created_at: RFC 3339 with milliseconds.
    """

    id: str
    type: EventType
    created_at: str
    data: Data


def event_id(uid: str, kind: EventType) -> str:
    """Return the id of what can happen once to the object with this uid."""
    return str(uuid.uuid5(uuid.UUID(uid), kind.value))


def session_ended(record: Record) -> Event:
    """Return the event of a session's end: session.completed, or session.failed when it was errored."""
    spec = record.spec
    failed = spec.phase == "errored"
    common: dict[str, Any] = {
        "session_id": session_id(spec.session_uid),
        "duration_ms": spec.duration_milliseconds,
        "reason": spec.reason,
        "label": spec.label,
        "metadata": spec.metadata,
    }
    data: Data
    if failed:
        operation = "run" if spec.ready_at else "start"
        data = SessionFailed(**common, operation=operation, error_name=spec.reason, error_message=spec.message)
    else:
        data = SessionCompleted(**common)
    kind = EventType.SESSION_FAILED if failed else EventType.SESSION_COMPLETED
    return Event(id=event_id(spec.session_uid, kind), type=kind, created_at=spec.ended_at, data=data)


def key_revoked(uid: str, key_id: str, name: str, revoked_at: datetime) -> Event:
    """Return the event of a key's revocation.

    Args:
        uid: the object's, which the event's id follows from.
        key_id: the public id.
    """
    stamp = format_time(revoked_at)
    kind = EventType.API_KEY_REVOKED
    return Event(
        id=event_id(uid, kind),
        type=kind,
        created_at=stamp,
        data=ApiKeyRevoked(api_key_id=key_id, name=name, revoked_at=stamp),
    )


def test_ping(webhook_id: str, moment: datetime) -> Event:
    """Return a new test event."""
    return Event(
        id=str(uuid.uuid4()),
        type=EventType.TEST_PING,
        created_at=format_time(moment),
        data=TestPing(webhook_id=webhook_id),
    )


def payload_of(event: Event) -> str:
    """Return the JSON that is sent; without the session's metadata where those leave no room for the rest."""
    text = msgspec.json.encode(event).decode()
    if len(text) <= PAYLOAD_LIMIT or not hasattr(event.data, "metadata"):
        return text
    smaller = msgspec.structs.replace(event.data, metadata=None)
    return msgspec.json.encode(msgspec.structs.replace(event, data=smaller)).decode()
