"""Idempotency keys as CreateRequest objects.

The object is named by a hash of account and key, and holds the session's name, chosen before the session is made.
Whoever creates the object makes the session; everybody else with the same key waits for that session to appear.
Nobody else may create under that name while the first may still be at it: a create that is refused because the name
exists would cost the account a slot of its quota. Only when the attempt is older than any request can run does
another one take it over, and a compare-and-set on the object decides which.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from datetime import datetime
from typing import Any, Final, NamedTuple

from driftstack_api.problems import Problem, unavailable
from driftstack_api.sessions.cache import Entry
from driftstack_api.sessions.service import Sessions
from driftstack_common.kinds import Account, CreateRequest, CreateRequestSpec, from_body, to_body
from driftstack_common.kinds.meta import Meta
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import (
    AlreadyExists,
    Conflict,
    Invalid,
    KubeError,
    NamespaceTerminating,
    NotFound,
)
from driftstack_common.logging import get_logger
from driftstack_common.names import GROUP
from driftstack_common.times import format_time, now, parse_time

ANNOTATION_ATTEMPT: Final = f"{GROUP}/attempt-at"
"""On a CreateRequest: when somebody last began to make its session."""
ATTEMPT_SECONDS: Final = 15.0
"""Longer than a create can take: 2 s for the quota, 10 s for the last request."""
FORGOTTEN_SECONDS: Final = 900.0
"""After this time a session that can't be found is not one that was never made, but one pruned from history."""
POLL_SECONDS: Final = 0.25
_REFUSED: Final = "Another call with this Idempotency-Key was just refused. Try again."

_log = get_logger(__name__)


class Attempt(NamedTuple):
    """One key in use.

    Attributes:
        mine: whether this call may create the session.
        since: when the last attempt began.
    """

    namespace: str
    name: str
    uid: str
    version: str
    session_name: str
    since: datetime
    mine: bool


class CreateRequests:
    """The Idempotency-Keys of all accounts."""

    def __init__(self, client: KubeClient, sessions: Sessions) -> None:
        self._client = client
        self._sessions = sessions

    async def begin(self, account: Account, key: str, sha256: str, session_name: str) -> Attempt:
        """Take the key, or learn who has.

        Raises:
            Problem: conflict when the key was used with another body; see also `going`.
        """
        meta = Meta(name=_name(account, key), annotations={ANNOTATION_ATTEMPT: format_time(now())})
        spec = CreateRequestSpec(body_sha256=sha256, session_name=session_name)
        request = to_body(CreateRequest(metadata=meta, spec=spec))
        try:
            stored = await self._client.create(CreateRequest.KIND, account.namespace, request)
            return _attempt(from_body(CreateRequest, stored), mine=True)
        except AlreadyExists:
            known = await self._known(account.namespace, meta.name)
        except (NamespaceTerminating, NotFound) as error:
            raise going(account) from error
        if known.spec.body_sha256 != sha256:
            raise Problem("conflict", "This Idempotency-Key was used for a create with another body.")
        return _attempt(known, mine=False)

    async def found(self, attempt: Attempt) -> Entry | None:
        """Return the session of somebody else's attempt, or None when it is now this call's turn to make it."""
        while True:
            entry = await self._sessions.find_by_name(attempt.namespace, attempt.session_name)
            if entry is not None:
                return entry
            age = (now() - attempt.since).total_seconds()
            if age > FORGOTTEN_SECONDS:
                raise Problem("conflict", "The session of this Idempotency-Key is no longer in the history.")
            if age > ATTEMPT_SECONDS:
                await self._take_over(attempt)
                return None
            await asyncio.sleep(POLL_SECONDS)
            if (await self._known(attempt.namespace, attempt.name)).metadata.uid != attempt.uid:
                raise unavailable(_REFUSED, 1)

    async def release(self, attempt: Attempt) -> None:
        """Free a key whose create was refused; a failure only means that the key stays taken for a while."""
        try:
            await self._client.delete(CreateRequest.KIND, attempt.namespace, attempt.name, uid=attempt.uid)
        except KubeError as error:
            _log.info("create request not released", name=attempt.name, error=str(error))

    async def _known(self, namespace: str, name: str) -> CreateRequest:
        with contextlib.suppress(NotFound):
            return from_body(CreateRequest, await self._client.get(CreateRequest.KIND, namespace, name))
        raise unavailable(_REFUSED, 1)

    async def _take_over(self, attempt: Attempt) -> None:
        path = f"/metadata/annotations/{ANNOTATION_ATTEMPT.replace('/', '~1')}"
        operations: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": attempt.version},
            {"op": "add", "path": path, "value": format_time(now())},
        ]
        try:
            await self._client.json_patch(CreateRequest.KIND, attempt.namespace, attempt.name, operations)
        except (Conflict, Invalid, NotFound) as error:
            raise unavailable("Another call with this Idempotency-Key is running. Try again.", 1) from error


def going(account: Account) -> Problem:
    """Return the problem of an account whose namespace is going, or gone."""
    if account.metadata.deletion_timestamp is not None:
        return Problem("conflict", "This account is being deleted.")
    return unavailable("This account's namespace was deleted, and is being made anew.")


def _attempt(request: CreateRequest, *, mine: bool) -> Attempt:
    metadata = request.metadata
    stamped = metadata.annotations.get(ANNOTATION_ATTEMPT)
    return Attempt(
        namespace=metadata.namespace or "",
        name=metadata.name,
        uid=metadata.uid,
        version=metadata.resource_version,
        session_name=request.spec.session_name,
        since=parse_time(stamped) if stamped else metadata.creation_timestamp or now(),
        mine=mine,
    )


def _name(account: Account, key: str) -> str:
    digest = hashlib.sha256(f"{account.metadata.uid}\0{key}".encode()).hexdigest()
    return f"idem-{digest[:40]}"
