"""Creating, listing, revoking and rotating API keys; every method sees the caller's own account only."""

from __future__ import annotations

import contextlib
import re
from datetime import datetime, timedelta
from typing import Any, Final

from driftstack_api.auth import Caller, permits
from driftstack_api.caches import Caches
from driftstack_api.keys.schemas import CreateKey, KeyList, KeyObject, NewKey
from driftstack_api.looks import Looks
from driftstack_api.problems import Problem, unavailable
from driftstack_api.sessions.create import random_name
from driftstack_api.sessions.idempotency import going
from driftstack_api.sessions.schemas import UUID_PATTERN
from driftstack_common.api_keys import mint
from driftstack_common.kinds import ApiKey, ApiKeySpec, from_body, to_body
from driftstack_common.kinds.meta import Meta
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import (
    Conflict,
    KubeError,
    NamespaceTerminating,
    NotFound,
    QuotaExceeded,
)
from driftstack_common.times import format_time, now, parse_time

MOST_KEYS: Final = 100
"""Keys of an account that work, made over REST; a moment's race may make it a few more."""
GRACE: Final = timedelta(hours=24)
"""How long a rotated key still works."""
ARRIVAL_SECONDS: Final = 1.0
"""How long a new key may take to reach this replica's copy before it is shown all the same."""
_TRIES: Final = 5
"""How often to read a key again that others write at the same time."""
_ID: Final = re.compile(f"key_{UUID_PATTERN}")


class Keys:
    """What callers can do with the keys of their account."""

    def __init__(self, client: KubeClient, looks: Looks, caches: Caches) -> None:
        self._client = client
        self._looks = looks
        self._caches = caches

    async def create(self, caller: Caller, body: CreateKey) -> NewKey:
        """Make a key.

        Raises:
            Problem: forbidden (a scope that the calling key doesn't have), conflict (too many keys), conflict or
                feature-unavailable (an account that is going, or not there yet).
        """
        expires_at = None if body.expires_at is None else parse_time(body.expires_at)
        _, shown = await self._mint(caller, body.name, list(body.scopes), expires_at)
        return shown

    def list_all(self, caller: Caller) -> KeyList:
        """Return every key of the account, newest first.

        Raises:
            Problem: feature-unavailable while the copy may be out of date.
        """
        if not self._caches.credentials_fresh:
            raise unavailable("The list of API keys may be out of date right now.")
        keys = sorted(self._caches.keys.of_namespace(caller.namespace), key=_age, reverse=True)
        return KeyList(data=[_show(key) for key in keys])

    async def revoke(self, caller: Caller, key_id: str) -> None:
        """Revoke a key, from now on at this replica, and at the others as soon as their watches tell.

        Raises:
            Problem: not-found.
        """
        key = await self._find(caller, key_id)
        if key.spec.revoked:
            return
        try:
            await self._patch(key, {"uid": key.metadata.uid}, _revocation())
        except NotFound:  # which is as good
            return
        except Conflict:
            found = await self._looks.key(caller.namespace, key.metadata.name)
            if found is not None and found.metadata.uid == key.metadata.uid and not found.spec.revoked:
                raise _contended() from None

    async def rotate(self, caller: Caller, key_id: str) -> NewKey:
        """Make a key like this one, then let this one end in 24 hours.

        The new key comes first: whatever happens in between, the old one works. Repeating a rotation whose answer
        was lost gives another new key, and moves the end of the old one no further.

        Raises:
            Problem: not-found, forbidden (the key may do what the calling one may not), conflict (it is revoked or
                expired).
        """
        old = await self._find(caller, key_id)
        _check_usable(old)
        expires_at = old.spec.expires_at
        if old.spec.replaced_by is not None:  # its end is that of an earlier rotation
            replacement = await self._looks.key(caller.namespace, old.spec.replaced_by)
            if replacement is None:
                raise Problem("conflict", "What replaced this API key is gone: create a new one.")
            expires_at = replacement.spec.expires_at
        new, shown = await self._mint(caller, old.spec.name, old.spec.scopes, expires_at)
        try:
            await self._retire(old, new)
        except (Problem, KubeError):  # nobody learns of the new key
            with contextlib.suppress(KubeError):
                await self._patch(new, {"uid": new.metadata.uid}, _revocation())
            raise
        return shown

    async def _mint(
        self, caller: Caller, name: str, scopes: list[str], expires_at: datetime | None
    ) -> tuple[ApiKey, NewKey]:
        for scope in scopes:
            if not permits(caller.key.spec.scopes, scope):
                raise Problem(
                    "forbidden", f"This API key lacks the scope `{scope}`, so it can't give it to another."
                )
        if sum(map(_is_usable, self._caches.keys.of_namespace(caller.namespace))) >= MOST_KEYS:
            raise Problem("conflict", f"The account has {MOST_KEYS} API keys that work: revoke one.")
        minted = mint()
        spec = ApiKeySpec(
            name=name, scopes=scopes, sha256=minted.sha256, key_prefix=minted.prefix, expires_at=expires_at
        )
        key = ApiKey(metadata=Meta(name=random_name("key"), namespace=caller.namespace), spec=spec)
        try:
            body = await self._client.create(ApiKey.KIND, caller.namespace, to_body(key))
        except (NamespaceTerminating, NotFound) as error:
            raise going(caller.account) from error
        except QuotaExceeded as error:
            raise _too_many(error) from error
        stored = from_body(ApiKey, body)
        if self._caches.credentials_fresh:  # so that the caller's next call can use it
            await self._caches.keys.arrived(stored, ARRIVAL_SECONDS)
        return stored, NewKey(**_show(stored).model_dump(), plaintext=minted.plaintext)

    async def _retire(self, old: ApiKey, new: ApiKey) -> None:
        """Let a key end in 24 hours, or when it would have anyway."""
        for _ in range(_TRIES):
            ends = now() + GRACE
            if old.spec.expires_at is not None:
                ends = min(ends, old.spec.expires_at)
            identity = {"uid": old.metadata.uid, "resourceVersion": old.metadata.resource_version}
            try:
                await self._patch(old, identity, {"expiresAt": format_time(ends), "replacedBy": new.metadata.name})
                return
            except (Conflict, NotFound):  # its last use was noted, or it was revoked
                found = await self._looks.key(old.metadata.namespace or "", old.metadata.name)
            if found is None or found.metadata.uid != old.metadata.uid:
                raise Problem("conflict", "This API key is gone: create a new one.")
            _check_usable(found)
            old = found
        raise _contended()

    async def _patch(self, key: ApiKey, identity: dict[str, str], spec: dict[str, Any]) -> None:
        patch = {"metadata": identity, "spec": spec}
        body = await self._client.merge_patch(ApiKey.KIND, key.metadata.namespace, key.metadata.name, patch)
        self._caches.keys.note(from_body(ApiKey, body))

    async def _find(self, caller: Caller, key_id: str) -> ApiKey:
        """Return a key by its public id: as the copy has it, or, should it not be there, as the API server does."""
        for key in self._caches.keys.of_namespace(caller.namespace):
            if key.id == key_id:
                return key
        if _ID.fullmatch(key_id):
            for key in await self._looks.keys(caller.namespace):
                if key.id == key_id:
                    return key
        raise Problem("not-found", "There is no such API key.")


def _show(key: ApiKey) -> KeyObject:
    spec = key.spec
    return KeyObject(
        id=key.id,
        name=spec.name,
        key_prefix=spec.key_prefix,
        scopes=spec.scopes,
        last_used_at=_time(key.status.last_used_at),
        revoked_at=_time(spec.revoked_at),
        expires_at=_time(spec.expires_at),
        created_at=format_time(_created(key)),
    )


def _revocation() -> dict[str, Any]:
    return {"revoked": True, "revokedAt": format_time(now())}


def _too_many(error: QuotaExceeded) -> Problem:
    if error.unknown:
        return unavailable("How many API keys this account has is being worked out. Try again.")
    return Problem(
        "conflict",
        "The account has as many API keys as it may have, revoked and expired ones included: ask whoever runs this "
        "service to delete some.",
    )


def _contended() -> Problem:
    return unavailable("This API key is being changed by others. Try again.")


def _is_usable(key: ApiKey) -> bool:
    expires_at = key.spec.expires_at
    return not key.spec.revoked and (expires_at is None or expires_at > now())


def _check_usable(key: ApiKey) -> None:
    if key.spec.revoked or key.metadata.deletion_timestamp is not None:
        raise Problem("conflict", "This API key was revoked: create a new one.")
    if key.spec.expires_at is not None and key.spec.expires_at <= now():
        raise Problem("conflict", "This API key has expired: create a new one.")


def _created(key: ApiKey) -> datetime:
    return key.metadata.creation_timestamp or now()


def _age(key: ApiKey) -> tuple[datetime, str]:
    return _created(key), key.metadata.uid


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)
