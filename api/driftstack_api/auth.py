"""Who calls, and what they may do: bearer keys against the copy of ApiKey objects.

Keys are 256 random bits, so their SHA-256 needs no slow hash; looking the digest up in a dictionary tells an
attacker nothing by its timing, since the digest of a guess can't be steered.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase
from starlette.requests import Request

from driftstack_api.caches import Caches
from driftstack_api.looks import Looks
from driftstack_api.problems import Problem, unavailable
from driftstack_api.rate_limits.limits import BucketName
from driftstack_common.api_keys import digest
from driftstack_common.kinds import Account, ApiKey
from driftstack_common.times import now

READ_SESSIONS: Final = "read:sessions"
WRITE_SESSIONS: Final = "write:sessions"
READ_KEYS: Final = "read:api-keys"
ADMIN_KEYS: Final = "admin:api-keys"
READ_WEBHOOKS: Final = "read:webhooks"
ACCOUNT_OWNER: Final = "account_owner"
READ: Final = "read"

_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/=-]{1,512})")


@dataclass(frozen=True)
class Caller:
    """An authenticated caller: the key, and the account that it belongs to."""

    account: Account
    key: ApiKey

    @property
    def namespace(self) -> str:
        """The account's namespace."""
        return self.account.namespace


class Authenticator:
    """Turns an Authorization header into a Caller."""

    def __init__(self, caches: Caches, looks: Looks) -> None:
        self._caches = caches
        self._looks = looks

    async def identify(self, header: str | None) -> Caller:
        """Return who calls.

        Raises:
            Problem: unauthorized, invalid-key, revoked-key, expired-key; feature-unavailable when nothing can be
                checked now.
        """
        match = _BEARER.fullmatch(header or "")
        if match is None:
            raise _challenge("unauthorized", "Send the header `Authorization: Bearer ds_live_…`, once.")
        sha256 = digest(match.group(1))
        return await self._identify(lambda: self._known(self._caches.keys.find(sha256)))

    async def identify_by_uid(self, uid: str) -> Caller:
        """Return the caller whose ApiKey object this is; raise as `identify` does."""
        return await self._identify(lambda: self._known(self._caches.keys.by_uid(uid)))

    def objection(self, caller: Caller, scope: str) -> Problem | None:
        """Return why a caller would no longer be let in, as far as the copies know."""
        return _objection(self._known(self._caches.keys.by_uid(caller.key.metadata.uid)), scope)

    async def ask_objection(self, caller: Caller, scope: str) -> Problem | None:
        """Return why a caller would no longer be let in, as the API server has it; raise KubeError."""
        try:
            return _objection(await self._confirm(caller), scope)
        except Problem as problem:
            return problem

    async def _identify(self, find: Callable[[], Caller | None]) -> Caller:
        if not self._caches.synced:
            raise unavailable("The service is starting.")
        caller = find()
        if not self._caches.credentials_fresh:
            # An unknown key can't be looked up by its hash, and may be newer than the copy.
            if caller is None:
                raise unavailable("API keys can't be checked right now.")
            caller = await self._confirm(caller)
        if caller is None:
            raise _unknown()
        return _admit(caller)

    def _known(self, key: ApiKey | None) -> Caller | None:
        account = self._caches.accounts.of_namespace(key.metadata.namespace or "") if key else None
        return Caller(account, key) if key and account else None

    async def _confirm(self, caller: Caller) -> Caller:
        """Ask the API server itself, when the copies may not know of a revocation yet."""
        known = caller.key
        key, account = await asyncio.gather(
            self._looks.key(known.metadata.namespace or "", known.metadata.name),
            self._looks.account(caller.account.metadata.name),
        )
        if key is None or account is None or key.spec.sha256 != known.spec.sha256:
            raise _unknown()
        return Caller(account, key)


def permits(scopes: list[str], needed: str) -> bool:
    """Whether a key with these scopes may do what needs this one, e.g. `read:sessions`.

    `read` covers every `read:*`, `write` every `write:*` and no read, `account_owner` everything.
    """
    return needed in scopes or ACCOUNT_OWNER in scopes or needed.split(":")[0] in scopes


class Requires(SecurityBase):
    """A dependency that returns the caller, who must have this scope (None: any valid key will do).

    Every call takes a token from the account's bucket of this name, allowed or not.
    """

    def __init__(self, scope: str | None, bucket: BucketName = BucketName.GLOBAL) -> None:
        self.model = HTTPBearerModel(description="An API key, `ds_live_…`.")
        self.scheme_name = "apiKey"
        self._scope = scope
        self._bucket = bucket

    async def __call__(self, request: Request) -> Caller:
        """Authenticate, count and authorize."""
        authenticator: Authenticator = request.app.state.services.authenticator
        caller = await authenticator.identify(authorization(request))
        await count(request, caller, self._bucket)
        return permit(caller, self._scope)


def authorization(request: Request) -> str | None:
    """Return the request's one Authorization header; None when there is none, or several."""
    given = request.headers.getlist("authorization")
    return given[0] if len(given) == 1 else None


async def count(request: Request, caller: Caller, bucket: BucketName = BucketName.GLOBAL) -> None:
    """Note a call and take its token; raise Problem rate-limited when there is none."""
    services = request.app.state.services
    services.last_used.note(caller.key)
    verdict = await services.rate_limiter.take(caller.account, bucket)
    request.state.rate_limit = verdict.headers
    if not verdict.allowed:
        raise verdict.problem()


def permit(caller: Caller, scope: str | None) -> Caller:
    """Return a caller who may do what needs this scope (None: any key does); raise Problem forbidden for others.

    Apart from `identify`, so that a call with a valid key is counted and told its rate limit, whatever becomes of
    it.
    """
    if caller.account.spec.suspended:
        raise Problem("forbidden", "This account is suspended.")
    if scope is not None and not permits(caller.key.spec.scopes, scope):
        raise Problem("forbidden", f"This API key lacks the scope `{scope}`.")
    return caller


def _objection(caller: Caller | None, scope: str) -> Problem | None:
    try:
        if caller is None:
            raise _unknown()
        permit(_admit(caller), scope)
    except Problem as problem:
        return problem
    return None


def _admit(caller: Caller) -> Caller:
    key = caller.key
    if key.spec.revoked or key.metadata.deletion_timestamp is not None:
        raise _challenge("revoked-key", "This API key was revoked.")
    if key.spec.expires_at is not None and key.spec.expires_at <= now():
        raise _challenge("expired-key", "This API key has expired.")
    return caller


def _unknown() -> Problem:
    return _challenge("invalid-key", "This API key is not known.")


def _challenge(slug: str, detail: str) -> Problem:
    return Problem(slug, detail, headers={"WWW-Authenticate": "Bearer"})
