"""Live and ended sessions as one collection: BrowserSession and SessionRecord objects merged by uid.

The two streams have no order between them. When a session's object disappears before its record has been seen, the
session stays here as ended until the record comes; when the record comes first, it wins. Either way a session is
here once, from its creation for as long as its record is kept.
"""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from driftstack_api.pagination import Position
from driftstack_common.kinds import Phase, Record, Session
from driftstack_common.kube.reflector import Signals
from driftstack_common.times import now, parse_time

ORPHAN_SECONDS: Final = 60.0
"""How long a session is shown whose object has gone and whose record doesn't come (its namespace is going)."""


@dataclass(slots=True)
class Entry:
    """One session; at least one of session and record is there.

    Attributes:
        name: of the BrowserSession object.
        created: milliseconds since 1970, with uid the place in lists.
        session: its last known object.
        gone_at: when the API server was found to no longer have that object.
    """

    uid: str
    namespace: str
    name: str
    created: int
    session: Session | None = None
    record: Record | None = None
    gone_at: datetime | None = None

    @property
    def gone(self) -> bool:
        """Whether the BrowserSession object no longer exists (and its slot is free)."""
        return self.gone_at is not None

    @property
    def ended(self) -> bool:
        """Whether it will never be ready again."""
        return self.record is not None or self.gone or (self.session is not None and _over(self.session))


def entry_of_session(session: Session) -> Entry:
    """Return the entry of a session that has no record (as far as is known)."""
    metadata = session.metadata
    return Entry(session.uid, metadata.namespace or "", metadata.name, _milliseconds(session.created_at), session)


def entry_of_record(record: Record) -> Entry:
    """Return the entry of an ended session."""
    spec = record.spec
    return Entry(
        spec.session_uid,
        record.metadata.namespace or "",
        spec.session_name,
        _milliseconds(parse_time(spec.created_at)),
        record=record,
        gone_at=parse_time(spec.ended_at),
    )


def _over(session: Session) -> bool:
    return session.ending or session.status.phase in (Phase.DESTROYED, Phase.ERRORED)


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


class SessionCache:
    """All sessions of all accounts.

    Attributes:
        live, records: what the two reflectors report to.
        signals: wakes those who wait for a session's uid.
    """

    def __init__(self) -> None:
        self.signals = Signals()
        self.live = _LiveIndex(self)
        self.records = _RecordIndex(self)
        self._entries: dict[str, Entry] = {}
        self._order: dict[str, list[Position]] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._live: dict[str, set[str]] = {}
        self._orphans: deque[tuple[float, str]] = deque()

    def get(self, uid: str) -> Entry | None:
        """Return a session of any account."""
        return self._entries.get(uid)

    def by_name(self, namespace: str, name: str) -> Entry | None:
        """Return the newest session whose object has, or had, this name."""
        return self._entries.get(self._names.get((namespace, name), ""))

    def live_count(self, namespace: str) -> int:
        """Return how many sessions of an account are creating, ready or busy."""
        return sum(not self._entries[uid].ended for uid in self._live.get(namespace, ()))

    def entries(self, namespace: str) -> Iterator[Entry]:
        """Yield all sessions of an account."""
        return (self._entries[position.uid] for position in self._order.get(namespace, ()))

    def page(self, namespace: str, before: Position | None, limit: int) -> tuple[list[Entry], bool]:
        """Return up to `limit` sessions, newest first, older than this place, and whether there are more."""
        order = self._order.get(namespace, [])
        end = len(order) if before is None else bisect_left(order, before)
        start = max(0, end - limit)
        return [self._entries[position.uid] for position in reversed(order[start:end])], start > 0

    def put_session(self, session: Session) -> None:
        """Take note of a live session's object."""
        fresh = entry_of_session(session)
        entry = self._entries.get(session.uid)
        if entry is None:
            entry = self._insert(fresh)
        entry.session, entry.gone_at = session, None
        self._live.setdefault(entry.namespace, set()).add(entry.uid)
        self._names[entry.namespace, entry.name] = entry.uid
        self.signals.notify(session.uid)

    def drop_session(self, session: Session) -> None:
        """Take note that the object has gone; the session stays, as ended."""
        entry = self._entries.get(session.uid)
        if entry is None:
            return
        entry.session, entry.gone_at = session, now()
        self._forget_live(entry)
        if entry.record is None:
            self._orphans.append((time.monotonic() + ORPHAN_SECONDS, entry.uid))
        self._drop_orphans()
        self.signals.notify(session.uid)

    def note_ending(self, session: Session) -> None:
        """Take note of a deletion that the API server has just accepted, before the watch tells of it."""
        entry = self._entries.get(session.uid)
        if entry is not None and not entry.ended:
            self.put_session(session)

    def note_gone(self, uid: str) -> None:
        """Take note that the API server no longer has a session, before the watch tells of it."""
        entry = self._entries.get(uid)
        if entry is not None and entry.session is not None and not entry.gone:
            self.drop_session(entry.session)

    def put_record(self, record: Record) -> None:
        """Take note of how a session ended."""
        fresh = entry_of_record(record)
        entry = self._entries.get(fresh.uid)
        if entry is None:
            entry = self._insert(fresh)
            self._names.setdefault((entry.namespace, entry.name), entry.uid)
        elif entry.created != fresh.created:
            self._move(entry, fresh.created)
        entry.record = record
        self.signals.notify(fresh.uid)

    def drop_record(self, record: Record) -> None:
        """Take note that history was pruned."""
        entry = self._entries.get(record.spec.session_uid)
        if entry is None:
            return
        entry.record = None
        if entry.gone:
            self._delete(entry)
        self._drop_orphans()
        self.signals.notify(entry.uid)

    def _insert(self, entry: Entry) -> Entry:
        self._entries[entry.uid] = entry
        insort(self._order.setdefault(entry.namespace, []), Position(entry.created, entry.uid))
        return entry

    def _delete(self, entry: Entry) -> None:
        del self._entries[entry.uid]
        self._forget_live(entry)
        if self._names.get((entry.namespace, entry.name)) == entry.uid:
            del self._names[entry.namespace, entry.name]
        self._remove_position(entry)

    def _move(self, entry: Entry, created: int) -> None:
        self._remove_position(entry)
        entry.created = created
        insort(self._order.setdefault(entry.namespace, []), Position(created, entry.uid))

    def _remove_position(self, entry: Entry) -> None:
        order = self._order[entry.namespace]
        order.pop(bisect_left(order, Position(entry.created, entry.uid)))
        if not order:
            del self._order[entry.namespace]

    def _forget_live(self, entry: Entry) -> None:
        live = self._live.get(entry.namespace, set())
        live.discard(entry.uid)
        if not live:
            self._live.pop(entry.namespace, None)

    def _drop_orphans(self) -> None:
        while self._orphans and self._orphans[0][0] <= time.monotonic():
            entry = self._entries.get(self._orphans.popleft()[1])
            if entry is not None and entry.gone and entry.record is None:
                self._delete(entry)


class _LiveIndex:
    """What the reflector of BrowserSession reports to."""

    def __init__(self, cache: SessionCache) -> None:
        self._cache = cache

    def stored(self, old: Session | None, new: Session) -> None:
        self._cache.put_session(new)

    def removed(self, old: Session) -> None:
        self._cache.drop_session(old)


class _RecordIndex:
    """What the reflector of SessionRecord reports to."""

    def __init__(self, cache: SessionCache) -> None:
        self._cache = cache

    def stored(self, old: Record | None, new: Record) -> None:
        self._cache.put_record(new)

    def removed(self, old: Record) -> None:
        self._cache.drop_record(old)
