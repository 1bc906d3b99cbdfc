"""Keeps the RoleBindings in accounts' namespaces: of their members as they say, and of our components."""

from __future__ import annotations

from contextlib import suppress

from driftstack_common.kinds import Account
from driftstack_common.kube.client import BINDING, KubeClient
from driftstack_common.kube.errors import Conflict, Invalid, NotFound
from driftstack_common.logging import get_logger
from driftstack_operator.accounts.binding import BindingView, Subject, build_binding, is_sound, subjects_of
from driftstack_operator.accounts.quotas import FIELD_MANAGER
from driftstack_operator.store import Store

logger = get_logger(__name__)


class Bindings:
    """Writes bindings.

    Args:
        kube: client to write with.
        store: what was observed.
        components: our own that have rights in each namespace (see components_of).
    """

    def __init__(self, kube: KubeClient, store: Store, components: dict[str, frozenset[Subject]]) -> None:
        self._components = components
        self._kube = kube
        self._store = store

    async def tend(self, account: Account) -> None:
        """Remove, make and correct bindings; who is to lose rights comes first."""
        wanted = subjects_of(account) | self._components
        for binding in list(self._store.bindings.group(account.namespace).values()):
            if not wanted.get(binding.name) or not is_sound(binding):
                await self._remove(binding)
        for name, subjects in wanted.items():
            known = self._store.bindings.get(account.namespace, name)
            if subjects and (known is None or known.subjects != subjects):
                await self._apply(account, name, subjects)

    async def _apply(self, account: Account, name: str, subjects: frozenset[Subject]) -> None:
        body = build_binding(account, name, subjects)
        try:
            stored = await self._kube.apply(BINDING, account.namespace, name, body, FIELD_MANAGER)
        except Invalid:  # a role can't be changed: one of this name that has not our label binds to another
            if self._store.bindings.get(account.namespace, name) is None:
                with suppress(NotFound):
                    await self._kube.delete(BINDING, account.namespace, name)
            raise
        self._store.bindings.written(stored)
        logger.info("role bound", account=account.metadata.name, role=name, subjects=len(subjects))

    async def _remove(self, binding: BindingView) -> None:
        with suppress(NotFound, Conflict):  # it is gone already
            await self._kube.delete(BINDING, binding.namespace, binding.name, uid=binding.uid)
        self._store.bindings.remove(binding.uid)
        logger.info("binding removed", account=binding.account, role=binding.name)
