"""How a session looks from outside: pure functions from what is known to the wire object."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from driftstack_api.sessions.cache import Entry
from driftstack_common.kinds import Account, Phase, Record, Session
from driftstack_common.names import session_id
from driftstack_common.times import format_time, parse_time

View = dict[str, Any]
"""A session as JSON."""


class Overlay(NamedTuple):
    """What this replica knows better than its copy: a step that it runs, or has just ended.

    Attributes:
        running: whether the step still runs.
        step: the number that the step was, or would have been, marked with.
        since: when the step began or ended.
    """

    running: bool
    step: int
    since: datetime


class State(NamedTuple):
    """Phase, and when it was entered (None for the first)."""

    phase: Phase
    since: datetime | None


def state_of(entry: Entry, overlay: Overlay | None = None) -> State:
    """Return the state of a session: the record wins, then the end of the object, then the overlay."""
    if entry.record is not None:
        return State(Phase(entry.record.spec.phase), parse_time(entry.record.spec.ended_at))
    session = _session(entry)
    changed = session.status.last_transition_time
    stored = State(session.status.phase, parse_time(changed) if changed else None)
    if entry.ended:
        return stored if stored.phase is Phase.ERRORED else State(Phase.DESTROYED, _ended_at(entry, session))
    return stored if overlay is None else _overlaid(stored, session.status.step, overlay)


def view(entry: Entry, account: Account, overlay: Overlay | None = None) -> View:
    """Return the wire object of a session; `schemas.SessionObject` describes it."""
    state = state_of(entry, overlay)
    created = _created_at(entry)
    changed = format_time(state.since) if state.since else None
    return {
        "id": session_id(entry.uid),
        "account_id": account.id,
        "status": state.phase.value,
        **(_from_record(entry.record) if entry.record else _from_session(_session(entry), account)),
        "created_at": created,
        "updated_at": changed or created,
        "last_state_at": changed,
        "destroyed_at": changed if state.phase in (Phase.DESTROYED, Phase.ERRORED) else None,
        "egress_capabilities": None,
        "egress_capability_report": None,
        "connect_url": None,
    }


def _from_record(record: Record) -> View:
    spec = record.spec
    return {
        "api_key_id": spec.api_key_id,
        "archetype": spec.archetype,
        "purpose": spec.purpose,
        "label": spec.label,
        "metadata": spec.metadata,
    }


def _from_session(session: Session, account: Account) -> View:
    spec = session.spec
    return {
        "api_key_id": session.api_key_id,
        "archetype": session.status.archetype or spec.archetype or account.spec.default_archetype,
        "purpose": spec.purpose,
        "label": spec.label,
        "metadata": spec.metadata,
    }


def _overlaid(stored: State, step: int, overlay: Overlay) -> State:
    if overlay.running and stored.phase is Phase.READY:
        return State(Phase.BUSY, overlay.since)
    if not overlay.running and stored.phase is Phase.BUSY and step == overlay.step:
        return State(Phase.READY, overlay.since)
    return stored


def _created_at(entry: Entry) -> str:
    if entry.record is not None:
        return format_time(parse_time(entry.record.spec.created_at))
    return format_time(_session(entry).created_at)


def _ended_at(entry: Entry, session: Session) -> datetime | None:
    """When it was deleted; deletionTimestamp knows whole seconds only, and must not lie before what came first."""
    ended = session.metadata.deletion_timestamp or entry.gone_at
    changed = session.status.last_transition_time
    earliest = parse_time(changed) if changed else session.created_at
    return max(ended, earliest) if ended else None


def _session(entry: Entry) -> Session:
    if entry.session is None:
        raise ValueError(f"session {entry.uid} has neither object nor record")
    return entry.session
