"""The facade's copies of what it answers from, each with the indexes that readers need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from driftstack_api.lean import lean_record, lean_session
from driftstack_api.metrics import CACHE_AGE, CACHE_LISTS, CACHE_OBJECTS
from driftstack_api.sessions.cache import SessionCache
from driftstack_api.webhooks.cache import Deliveries, Endpoints, lean_delivery
from driftstack_common.kinds import (
    Account,
    AccountUsage,
    AccountUsageSpec,
    ApiKey,
    Archetype,
    Record,
    Session,
    WebhookDelivery,
    WebhookEndpoint,
)
from driftstack_common.kube.pages import SMALL_PAGE
from driftstack_common.kube.reflector import DEFAULT_TIMING, ListWatch, Reflector, Signals, Timing


class Accounts:
    """Accounts by their namespace; changes are told under it."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._by_namespace: dict[str, Account] = {}

    def stored(self, old: Account | None, new: Account) -> None:
        """Take note of a new or changed account."""
        self._by_namespace[new.namespace] = new
        self._signals.notify(new.namespace)

    def removed(self, old: Account) -> None:
        """Forget an account."""
        self._by_namespace.pop(old.namespace, None)
        self._signals.notify(old.namespace)

    def of_namespace(self, namespace: str) -> Account | None:
        """Return the account that this namespace belongs to."""
        return self._by_namespace.get(namespace)


class ApiKeys:
    """Keys by the hash of the bearer token, by uid and by namespace; changes are told under the namespace."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._by_hash: dict[str, dict[str, ApiKey]] = {}
        self._by_uid: dict[str, ApiKey] = {}
        self._by_namespace: dict[str, dict[str, ApiKey]] = {}

    def stored(self, old: ApiKey | None, new: ApiKey) -> None:
        """Take note of a new or changed key; one that was revoked stays so, whatever a late event says."""
        known = self._by_uid.get(new.metadata.uid)
        if known is not None and known.spec.revoked and not new.spec.revoked:
            return
        if old is not None and old.spec.sha256 != new.spec.sha256:
            self.removed(old)
        self._by_uid[new.metadata.uid] = new
        for keys in self._places(new):
            keys[new.metadata.uid] = new
        self._signals.notify(new.metadata.namespace or "")

    def removed(self, old: ApiKey) -> None:
        """Forget a key."""
        self._by_uid.pop(old.metadata.uid, None)
        for keys in self._places(old):
            keys.pop(old.metadata.uid, None)
        if not self._by_hash[old.spec.sha256]:
            del self._by_hash[old.spec.sha256]
        if not self._by_namespace[old.metadata.namespace or ""]:
            del self._by_namespace[old.metadata.namespace or ""]
        self._signals.notify(old.metadata.namespace or "")

    def note(self, key: ApiKey) -> None:
        """Take note of a change that the API server has just accepted, before the watch tells of it."""
        if key.metadata.uid in self._by_uid:
            self.stored(None, key)

    def by_uid(self, uid: str) -> ApiKey | None:
        """Return the key whose object this is."""
        return self._by_uid.get(uid)

    def find(self, sha256: str) -> ApiKey | None:
        """Return the key with this hash; the oldest, should somebody have copied it into another namespace."""
        keys = self._by_hash.get(sha256)
        if not keys:
            return None
        if len(keys) == 1:
            return next(iter(keys.values()))
        return min(keys.values(), key=lambda key: (str(key.metadata.creation_timestamp), key.metadata.uid))

    def of_namespace(self, namespace: str) -> list[ApiKey]:
        """Return the keys of the account that this namespace belongs to."""
        return list(self._by_namespace.get(namespace, {}).values())

    async def arrived(self, key: ApiKey, seconds: float) -> None:
        """Wait until the copy has a key that exists, at most this long."""
        namespace = key.metadata.namespace or ""
        await self._signals.wait_for(namespace, lambda: self.find(key.spec.sha256) is not None, seconds)

    def _places(self, key: ApiKey) -> tuple[dict[str, ApiKey], dict[str, ApiKey]]:
        by_hash = self._by_hash.setdefault(key.spec.sha256, {})
        return by_hash, self._by_namespace.setdefault(key.metadata.namespace or "", {})


class Archetypes:
    """Which slugs exist where."""

    def __init__(self, system_namespace: str) -> None:
        self._system = system_namespace
        self._names: dict[tuple[str, str], set[str]] = {}

    def stored(self, old: Archetype | None, new: Archetype) -> None:
        """Take note of a new or changed archetype."""
        if old is not None and old.spec.slug != new.spec.slug:
            self.removed(old)
        self._names.setdefault(self._place(new), set()).add(new.metadata.name)

    def removed(self, old: Archetype) -> None:
        """Forget an archetype."""
        names = self._names.get(self._place(old), set())
        names.discard(old.metadata.name)
        if not names:
            self._names.pop(self._place(old), None)

    def knows(self, slug: str, namespace: str) -> bool:
        """Whether sessions in this account namespace can use this slug: the catalogue's, or the account's own."""
        return (self._system, slug) in self._names or (namespace, slug) in self._names

    @staticmethod
    def _place(archetype: Archetype) -> tuple[str, str]:
        return archetype.metadata.namespace or "", archetype.spec.slug


class Sums:
    """What ended sessions have used whose records may be gone, by the account's namespace."""

    def __init__(self) -> None:
        self._by_namespace: dict[str, AccountUsageSpec] = {}

    def stored(self, old: AccountUsage | None, new: AccountUsage) -> None:
        """Take note of new sums."""
        self._by_namespace[new.metadata.namespace or ""] = new.spec

    def removed(self, old: AccountUsage) -> None:
        """Forget an account's sums."""
        self._by_namespace.pop(old.metadata.namespace or "", None)

    def of_namespace(self, namespace: str) -> AccountUsageSpec:
        """Return the sums of the account that this namespace belongs to."""
        return self._by_namespace.get(namespace, _NO_SUMS)


_NO_SUMS = AccountUsageSpec()


class Caches:
    """All copies and the reflectors that keep them; `run` it as a task.

    Args:
        fresh_seconds: how long a copy is trusted after its stream has last proven itself.

    Attributes:
        credentials: tells of changes of accounts and keys, by the account's namespace.
    """

    def __init__(
        self, client: ListWatch, system_namespace: str, fresh_seconds: float, timing: Timing = DEFAULT_TIMING
    ) -> None:
        self.credentials = Signals()
        self.accounts = Accounts(self.credentials)
        self.keys = ApiKeys(self.credentials)
        self.archetypes = Archetypes(system_namespace)
        self.sessions = SessionCache()
        self.usage = Sums()
        self.endpoints = Endpoints()
        self.deliveries = Deliveries()
        self._fresh_seconds = fresh_seconds
        self._credentials = (
            _reflector(client, Account, self.accounts, timing, forgets=True),
            _reflector(client, ApiKey, self.keys, timing, forgets=True),
        )
        self._archetypes = _reflector(client, Archetype, self.archetypes, timing)
        self._sessions = (
            _reflector(client, Session, self.sessions.live, timing, lean_session),
            _reflector(client, Record, self.sessions.records, timing, lean_record),
        )
        self._usage = _reflector(client, AccountUsage, self.usage, timing)
        self._webhooks = (
            _reflector(client, WebhookEndpoint, self.endpoints, timing),
            _reflector(client, WebhookDelivery, self.deliveries, replace(timing, page=SMALL_PAGE), lean_delivery),
        )
        self._reflectors = (*self._credentials, self._archetypes, *self._sessions, *self._webhooks)
        self._measure()

    async def run(self) -> None:
        """Keep all copies up to date until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in (*self._reflectors, self._usage):
                group.create_task(reflector.run(), name=f"reflector {reflector.name}")

    @property
    def synced(self) -> bool:
        """Whether every copy has been complete once; before that, nothing can be answered."""
        return all(reflector.synced for reflector in self._reflectors)

    @property
    def credentials_fresh(self) -> bool:
        """Whether a revoked key or a suspended account would be known by now."""
        return all(map(self._is_fresh, self._credentials))

    @property
    def sessions_fresh(self) -> bool:
        """Whether a session's change or end would be known by now."""
        return all(map(self._is_fresh, self._sessions))

    @property
    def archetypes_fresh(self) -> bool:
        """Whether a new archetype would be known by now."""
        return self._is_fresh(self._archetypes)

    @property
    def usage_fresh(self) -> bool:
        """Whether sums would be known by now. Nothing else depends on them: a cluster may lack their kind."""
        return self._is_fresh(self._usage)

    @property
    def webhooks_fresh(self) -> bool:
        """Whether a change of an endpoint or a delivery would be known by now."""
        return all(map(self._is_fresh, self._webhooks))

    def stale(self) -> Iterator[str]:
        """Yield the names of the copies that may be out of date."""
        for reflector in self._reflectors:
            if not self._is_fresh(reflector):
                yield reflector.name

    def _is_fresh(self, reflector: Reflector[Any]) -> bool:
        return reflector.age <= self._fresh_seconds

    def _measure(self) -> None:
        for reflector in (*self._reflectors, self._usage):
            CACHE_OBJECTS.labels(reflector.name).set_function(partial(_objects, reflector))
            CACHE_AGE.labels(reflector.name).set_function(partial(getattr, reflector, "age"))
            CACHE_LISTS.labels(reflector.name).set_function(partial(getattr, reflector, "lists"))


def _objects(reflector: Reflector[Any]) -> int:
    return len(reflector.objects)


def _reflector(
    client: ListWatch,
    kind: Any,
    index: Any,
    timing: Timing,
    keep: Callable[[Any], Any] = lambda read: read,
    *,
    forgets: bool = False,
) -> Reflector[Any]:
    return Reflector(
        client, kind, keep=keep, stored=index.stored, removed=index.removed, forgets=forgets, timing=timing
    )
