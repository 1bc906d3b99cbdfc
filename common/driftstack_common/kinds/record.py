"""SessionRecord: one ended session, as it was when it ended."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from driftstack_common.kinds.meta import Kind, Model, Resource
from driftstack_common.kinds.session import BehavioralProfile, Browser, Purpose
from driftstack_common.kinds.usage import StepCounts


class RecordSpec(Model, frozen=True, kw_only=True):
    """The session's last word; immutable. Times are RFC 3339 with milliseconds.

    Attributes:
        ready_at: None when it never became ready.
        duration_milliseconds: from created_at to ended_at.
        agent_log: last lines of the agent's log, at most 2 KiB; nothing of a page is in them.
        usage: steps that succeeded, by date (`2026-05-12`, UTC).
    """

    session_name: str
    session_uid: str
    phase: Literal["destroyed", "errored"]
    reason: str
    message: str = ""
    archetype: str
    purpose: Purpose = "production_customer"
    label: str | None = None
    metadata: dict[str, Any] | None = None
    behavioral_profile: BehavioralProfile = "regular"
    api_key_id: str
    created_at: str
    ready_at: str | None = None
    ended_at: str
    duration_milliseconds: int
    browser: Browser | None = None
    agent_log: str = ""
    usage: dict[str, StepCounts] = {}


class Record(Resource, frozen=True, kw_only=True):
    """A SessionRecord object; its name is the session's uid."""

    KIND: ClassVar[Kind] = Kind("SessionRecord", "sessionrecords")
    spec: RecordSpec
