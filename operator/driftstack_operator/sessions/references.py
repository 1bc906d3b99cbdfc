"""What a session refers to: its account, its archetype, the pool that it starts from.

Watches of different kinds have no order between them: a session may be seen before the account, archetype or pool
that was made just before it. Before any of these is called missing, the API server is asked.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from driftstack_common.kinds import Account, Archetype, Pool, Session
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import Forbidden, NotFound
from driftstack_common.names import ACCOUNT_NAMESPACE_PREFIX, archetype_name
from driftstack_operator.pools.choice import Choice, choose
from driftstack_operator.settings import Settings
from driftstack_operator.store import Shelf, Store


class References:
    """Finds them.

    Args:
        kube: for direct looks.
        store: what the watches brought.
        settings: namespaces and pool.
    """

    def __init__(self, kube: KubeClient, store: Store, settings: Settings) -> None:
        self._kube = kube
        self._store = store
        self._settings = settings

    async def look(self, session: Session) -> None:
        """Fetch what the store doesn't have."""
        kube, store, catalogue = self._kube, self._store, self._settings.system_namespace
        namespace = session.metadata.namespace
        if self.account_of(session) is None and (name := account_name(namespace)):
            await fetch(kube, store.accounts, Account.KIND, "", name)
        if self.account_of(session) is None:
            return
        if self.archetype_of(session) is None:
            wanted = archetype_name(self.slug_of(session))
            await fetch(kube, store.archetypes, Archetype.KIND, namespace or "", wanted)
            await fetch(kube, store.archetypes, Archetype.KIND, catalogue, wanted)
        wanted_pool = self._choice(session).name
        if self._pool(wanted_pool) is None:
            with suppress(Forbidden):  # the browser namespace is gone, and with it the right to look into it
                await fetch(kube, store.pools, Pool.KIND, self._settings.browser_namespace, wanted_pool)

    def account_of(self, session: Session) -> Account | None:
        """Return the account whose namespace the session is in."""
        name = account_name(session.metadata.namespace)
        return self._store.accounts.get("", name) if name else None

    def slug_of(self, session: Session) -> str:
        """Return the archetype the session asks for: its own, else its account's default."""
        account = self.account_of(session)
        return session.spec.archetype or (account.spec.default_archetype if account is not None else "")

    def archetype_of(self, session: Session) -> Archetype | None:
        """Return the session's archetype: the account's own goes before the catalogue's."""
        slug = self.slug_of(session)
        for namespace in (session.metadata.namespace or "", self._settings.system_namespace):
            found = self._store.archetypes.get(namespace, archetype_name(slug))
            if found is not None and found.spec.slug == slug:
                return found
        return None

    def pool_of(self, session: Session) -> tuple[Pool | None, str]:
        """Return the pool that the session starts from, or why it can't have the one that is named for it."""
        choice = self._choice(session)
        pool = self._pool(choice.name)
        if choice.by_installation or (pool is not None and pool.spec.selectable):
            return pool, ""
        return None, f"no BrowserPool {choice.name!r} that the session may start from: it has to be `selectable`"

    def _choice(self, session: Session) -> Choice:
        archetype = self.archetype_of(session)
        return choose(session, archetype, self._settings.system_namespace, self._settings.pool)

    def _pool(self, name: str) -> Pool | None:
        return self._store.pools.get(self._settings.browser_namespace, name)


async def fetch(kube: KubeClient, shelf: Shelf[Any], kind: Kind, namespace: str, name: str) -> None:
    """Take in one object as it is now, if it is there."""
    with suppress(NotFound):
        shelf.apply(await kube.get(kind, namespace or None, name))


def account_name(namespace: str | None) -> str:
    """Return the name of the account that a namespace would belong to, empty when none."""
    prefix, name = ACCOUNT_NAMESPACE_PREFIX, namespace or ""
    return name.removeprefix(prefix) if name.startswith(prefix) else ""
