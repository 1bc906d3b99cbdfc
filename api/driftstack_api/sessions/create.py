"""Creating sessions: the object, the account's cap, and repeated creates with an Idempotency-Key."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import string
from typing import Final, NamedTuple

from driftstack_api.auth import Caller
from driftstack_api.caches import Caches
from driftstack_api.metrics import QUOTA_RETRIES
from driftstack_api.problems import Issue, Problem, invalid, unavailable
from driftstack_api.sessions.cache import Entry, entry_of_session
from driftstack_api.sessions.idempotency import Attempt, CreateRequests, going
from driftstack_api.sessions.schemas import CreateSession
from driftstack_api.sessions.service import Sessions
from driftstack_common.kinds import Phase, Session, SessionSpec, from_body, to_body
from driftstack_common.kinds.meta import Meta
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import (
    AlreadyExists,
    Invalid,
    KubeError,
    NamespaceTerminating,
    NotFound,
    QuotaExceeded,
)
from driftstack_common.logging import get_logger
from driftstack_common.names import ANNOTATION_API_KEY_ID, ANNOTATION_CREATED_AT
from driftstack_common.times import format_time, now

_log = get_logger(__name__)

QUOTA_SECONDS: Final = 2.0
"""How long a create is tried again while the quota still counts a session that has gone."""
QUOTA_PAUSES: Final = (0.02, 0.02, 0.03, 0.03, 0.05, 0.1, 0.2)
"""Seconds between these attempts; the last one repeats."""
_NAME_CHARACTERS: Final = string.ascii_lowercase + string.digits


class Created(NamedTuple):
    """A session that was made, or found again by its Idempotency-Key."""

    entry: Entry
    replayed: bool


class Creator:
    """Makes BrowserSession objects for callers."""

    def __init__(self, client: KubeClient, caches: Caches, sessions: Sessions) -> None:
        self._client = client
        self._caches = caches
        self._cache = caches.sessions
        self._sessions = sessions
        self._requests = CreateRequests(client, sessions)

    async def create(self, caller: Caller, body: CreateSession, key: str | None) -> Created:
        """Make a session, or return the one that an earlier call with the same key has made.

        Raises:
            Problem: validation-failed, not-found (profile), conflict (key used for another body),
                concurrency-limit, feature-unavailable.
        """
        spec = self._spec(caller, body)
        if not caller.account.ready:
            raise unavailable("This account is not ready yet: its namespace or its limits are being set up.")
        if key is None:
            return Created(await self._post(caller, spec, random_name()), replayed=False)
        return await self._create_once(caller, spec, key, body_hash(body))

    async def wait_ready(self, entry: Entry, seconds: float) -> Entry:
        """Wait until a session is no longer creating, at most this long; return what it is then."""
        try:
            entry = await self._sessions.until(entry, _started, seconds)
            return await self._sessions.settled(entry)
        except KubeError as error:  # the session was made: its caller must learn its id
            _log.info("a created session is not followed", session=entry.uid, error=str(error))
            return entry

    def _spec(self, caller: Caller, body: CreateSession) -> SessionSpec:
        archetype = body.archetype or caller.account.spec.default_archetype
        if not self._caches.archetypes.knows(archetype, caller.namespace):
            if not self._caches.archetypes_fresh:
                raise unavailable("Which archetypes there are can't be told right now.")
            whose = "" if body.archetype else "the account's default, "
            raise invalid([Issue("archetype", f"there is no such archetype: {whose}{archetype}")])
        if body.profile_id is not None:
            raise Problem("not-found", "There is no such profile.")
        return SessionSpec(
            archetype=archetype,
            label=body.label,
            metadata=body.metadata,
            behavioral_profile=body.behavioral_profile or "regular",
        )

    async def _create_once(self, caller: Caller, spec: SessionSpec, key: str, sha256: str) -> Created:
        attempt = await self._requests.begin(caller.account, key, sha256, random_name())
        if not attempt.mine:
            found = await self._requests.found(attempt)
            if found is not None:
                return Created(await self._sessions.settled(found), replayed=True)
        try:
            return Created(await self._post(caller, spec, attempt.session_name), replayed=False)
        except AlreadyExists:
            # The attempt that this one took over from was alive after all, and has won.
            return Created(await self._sessions.settled(await self._existing(attempt)), replayed=True)
        except Problem:
            # Refused for good: nothing was made, so the key is free again.
            await self._requests.release(attempt)
            raise

    async def _existing(self, attempt: Attempt) -> Entry:
        entry = await self._sessions.find_by_name(attempt.namespace, attempt.session_name)
        if entry is None:
            raise unavailable("The session of this Idempotency-Key is just ending. Try again.")
        return entry

    async def _post(self, caller: Caller, spec: SessionSpec, name: str) -> Entry:
        """Store the object; wait out a quota that lags behind, for it counts what has gone a moment longer."""
        deadline = asyncio.get_running_loop().time() + QUOTA_SECONDS
        attempt = 0
        while True:
            try:
                body = await self._client.create(Session.KIND, caller.namespace, _body(caller, spec, name))
                return await self._arrived(from_body(Session, body))
            except QuotaExceeded as error:
                if not self._worth_waiting(caller, error) or asyncio.get_running_loop().time() >= deadline:
                    raise self._refusal(caller, error) from error
            except (NamespaceTerminating, NotFound) as error:
                raise going(caller.account) from error
            except Invalid as error:
                raise _invalid(error) from error
            QUOTA_RETRIES.inc()
            await asyncio.sleep(QUOTA_PAUSES[min(attempt, len(QUOTA_PAUSES) - 1)])
            attempt += 1

    async def _arrived(self, session: Session) -> Entry:
        """Wait for the cache, so that the caller's next read shows it; answer with the session as created."""
        await self._sessions.arrived(session)
        return entry_of_session(session)

    def _worth_waiting(self, caller: Caller, error: QuotaExceeded) -> bool:
        cap = caller.account.status.limit
        return error.unknown or cap is None or self._live(caller) < cap

    def _refusal(self, caller: Caller, error: QuotaExceeded) -> Problem:
        if error.unknown:
            return unavailable("This account's limit is being worked out. Try again.")
        live, cap = self._live(caller), caller.account.status.limit
        return Problem(
            "concurrency-limit",
            f"This account can have {cap} live sessions. Wait for one to end, or delete one.",
            headers={"Retry-After": "2"},
            current_sessions=live,
            limit=cap,
        )

    def _live(self, caller: Caller) -> int:
        """How many live sessions count against the cap; by a copy that is out of date, as many as there may be."""
        if not self._caches.sessions_fresh and caller.account.status.limit is not None:
            return caller.account.status.limit
        return self._cache.live_count(caller.namespace)


def random_name(kind: str = "rest") -> str:
    """Return the name of a new object: never used before, since names that exist would cost quota."""
    return f"{kind}-" + "".join(secrets.choice(_NAME_CHARACTERS) for _ in range(20))


def body_hash(body: CreateSession) -> str:
    """Return the SHA-256 of what was asked for; spelling and order of keys make no difference."""
    canonical = json.dumps(body.model_dump(exclude_none=True), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _body(caller: Caller, spec: SessionSpec, name: str) -> dict[str, object]:
    annotations = {ANNOTATION_CREATED_AT: format_time(now()), ANNOTATION_API_KEY_ID: caller.key.id}
    metadata = Meta(name=name, namespace=caller.namespace, annotations=annotations)
    return to_body(Session(metadata=metadata, spec=spec))


def _started(entry: Entry) -> bool:
    return entry.ended or entry.session is None or entry.session.status.phase is not Phase.CREATING


def _invalid(error: Invalid) -> Problem:
    """Return the problem for fields that the schema refused, by the names that callers know."""
    issues = [
        Issue(_wire_name(str(cause.get("field", ""))), str(cause.get("message", "")))
        for cause in error.causes
        if str(cause.get("field", "")).startswith("spec.")
    ]
    return invalid(issues) if issues else _unexpected(error)


def _wire_name(field: str) -> str:
    name = field.removeprefix("spec.")
    return "behavioral_profile" if name == "behavioralProfile" else name


def _unexpected(error: KubeError) -> Problem:
    _log.error("session refused", status=error.status, error=error.message)
    return unavailable("The cluster refused the session; the log says why.")
