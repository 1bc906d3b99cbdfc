"""Reading and ending sessions."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from driftstack_api.auth import Caller
from driftstack_api.metrics import DIRECT_LOOKS
from driftstack_api.pagination import BadCursor, Position, decode, encode
from driftstack_api.problems import Issue, Problem, invalid, unavailable
from driftstack_api.sessions.cache import Entry, SessionCache, entry_of_record, entry_of_session
from driftstack_api.sessions.marks import Marks
from driftstack_api.sessions.schemas import SessionObject, SessionPage
from driftstack_api.sessions.view import view
from driftstack_common.kinds import Record, Session, from_body
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import Conflict, NotFound
from driftstack_common.names import session_uid

ARRIVAL_SECONDS: Final = 1.0
"""How long an object that exists may take to reach the cache before it is used without."""
DELETE_SECONDS: Final = 10.0
"""How long a DELETE waits for the object to be gone."""


class Sessions:
    """What callers can read and end; every method sees the caller's own sessions only."""

    def __init__(self, client: KubeClient, cache: SessionCache, marks: Marks) -> None:
        self._client = client
        self._cache = cache
        self._marks = marks
        # Ids that nobody knows cost the API server two reads each; not many at once.
        self._looks = asyncio.Semaphore(16)

    async def find(self, caller: Caller, session: str) -> Entry:
        """Return a session by its public id.

        Raises:
            Problem: not-found, also for ids of other accounts and for what is no id.
        """
        uid = session_uid(session)
        entry = self._cache.get(uid) if uid else None
        if uid and entry is None:
            entry = await self._look(caller.namespace, uid)
        if entry is None or entry.namespace != caller.namespace:
            raise Problem("not-found", "There is no such session.")
        return entry

    async def get(self, caller: Caller, session: str) -> SessionObject:
        """Return a session as callers see it."""
        return self.show(await self.settled(await self.find(caller, session)), caller)

    def show(self, entry: Entry, caller: Caller) -> SessionObject:
        """Return a found session as callers see it."""
        return view(entry, caller.account, self._marks.overlay(entry.uid))

    def list_page(self, caller: Caller, limit: int, cursor: str | None) -> SessionPage:
        """Return a page, newest first, live and ended sessions together."""
        account = caller.account.metadata.uid
        before = _position(cursor, account)
        entries, more = self._cache.page(caller.namespace, before, limit)
        following = encode(Position(entries[-1].created, entries[-1].uid), account) if more else None
        return SessionPage.model_construct(
            data=[self.show(entry, caller) for entry in entries], has_more=more, next_cursor=following
        )

    async def settled(self, entry: Entry) -> Entry:
        """Return the entry with its record, should there be one that the cache has not seen yet.

        Without this, a session that failed could be shown as destroyed for the moment between its object's
        deletion and its record, which come by different streams.
        """
        if entry.record is not None or not entry.ended:
            return entry
        record = await self._record(entry.namespace, entry.uid)
        return entry if record is None else entry_of_record(record)

    async def destroy(self, caller: Caller, session: str) -> None:
        """End a session and wait until its object is gone; fine when it has ended already.

        Raises:
            Problem: not-found; feature-unavailable when it takes longer than DELETE_SECONDS.
        """
        entry = await self.find(caller, session)
        if entry.gone:
            return
        # Conflict: another object has the name by now, so this one is gone.
        with contextlib.suppress(NotFound, Conflict):
            await self._client.delete(Session.KIND, entry.namespace, entry.name, uid=entry.uid)
        if not await self._cache.signals.wait_for(entry.uid, lambda: self._gone(entry.uid), DELETE_SECONDS):
            raise unavailable("The session is ending, but has not gone yet. It is safe to repeat the call.")

    async def find_by_name(self, namespace: str, name: str) -> Entry | None:
        """Return a session by the name of its object, asking the API server when no cache knows it."""
        entry = self._cache.by_name(namespace, name)
        if entry is not None:
            return entry
        try:
            body = await self._client.get(Session.KIND, namespace, name)
        except NotFound:
            return None
        return await self.arrived(from_body(Session, body))

    async def arrived(self, session: Session) -> Entry:
        """Wait until the cache has a session that exists, so that later calls see it; return its entry."""
        await self._cache.signals.wait_for(
            session.uid, lambda: self._cache.get(session.uid) is not None, ARRIVAL_SECONDS
        )
        return self._cache.get(session.uid) or entry_of_session(session)

    def _gone(self, uid: str) -> bool:
        entry = self._cache.get(uid)
        return entry is not None and entry.gone

    async def _look(self, namespace: str, uid: str) -> Entry | None:
        """Ask the API server: another replica may have made the session a moment ago."""
        async with self._looks:
            DIRECT_LOOKS.inc()
            listed = await self._client.list_objects(Session.KIND, namespace)
            for body in listed["items"]:
                if body["metadata"]["uid"] == uid:
                    return await self.arrived(from_body(Session, body))
            record = await self._record(namespace, uid)
            return None if record is None else entry_of_record(record)

    async def _record(self, namespace: str, uid: str) -> Record | None:
        try:
            return from_body(Record, await self._client.get(Record.KIND, namespace, uid))
        except NotFound:
            return None


def _position(cursor: str | None, account: str) -> Position | None:
    if cursor is None:
        return None
    try:
        return decode(cursor, account)
    except BadCursor as error:
        raise invalid([Issue("cursor", "not a cursor that this list has given")]) from error
