"""Keeps the quotas of accounts as they should be: there, with the right cap, and counting what there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from driftstack_common.kinds import Account
from driftstack_common.kube.client import QUOTA, KubeClient
from driftstack_common.logging import get_logger
from driftstack_common.names import QUOTA_NAME
from driftstack_operator.accounts import conditions
from driftstack_operator.accounts.conditions import Ready
from driftstack_operator.accounts.quota import QuotaView, build_quota, in_force, miscounted, next_shake
from driftstack_operator.store import Store

FIELD_MANAGER: Final = "driftstack-operator"
WRONG_FOR: Final = 2.0
"""Seconds that a quota may lag behind before it is shaken; each time that doesn't help, the next comes later."""
LONGEST: Final = 30.0
STUCK_AFTER: Final = 2
"""Shakes that did not help, before the account's condition says so."""

logger = get_logger(__name__)


class Wrong(msgspec.Struct):
    """A quota that is not as it should be: how often it was shaken, and when it is due again (monotonic)."""

    due: float
    shakes: int = 0


class Quotas:
    """Writes quotas, and judges them.

    Args:
        kube: client to write with.
        store: what was observed.
        objects: how many of other kinds there may be in each account, by quota key.
    """

    def __init__(
        self,
        kube: KubeClient,
        store: Store,
        objects: Mapping[str, int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._objects = objects
        self._store = store
        self._clock = clock
        self._wrong: dict[str, Wrong] = {}

    async def tend(self, account: Account, cap: int) -> tuple[Ready | None, float | None]:
        """Do what the quota needs now; return what is new to be said of it, and when to look again, seconds."""
        await self.ensure(account, cap)
        name, quota = account.metadata.name, self.of(account)
        live = len(self._store.sessions.group(account.namespace))
        if in_force(quota, cap) and not miscounted(quota, live):
            self.forget(name)
            return conditions.counted(cap, suspended=account.spec.suspended), None
        wrong = self._wrong.setdefault(name, Wrong(self._clock() + WRONG_FOR))
        if quota is not None and self._clock() >= wrong.due:
            logger.info("quota shaken", account=name, used=quota.used, live=live, limit=quota.limit)
            await self._apply(account, cap, next_shake(quota))
            wrong.shakes += 1
            wrong.due = self._clock() + _pause(wrong.shakes)
        left = wrong.due - self._clock()
        if account.ready and not wrong.shakes:  # a cap that changes needs a moment to be in force
            return None, left
        return _verdict(account, quota, cap, wrong.shakes > STUCK_AFTER), left

    def forget(self, name: str) -> None:
        """The account's quota is right, or the account is gone."""
        self._wrong.pop(name, None)

    def of(self, account: Account) -> QuotaView | None:
        """Return the account's quota as last seen."""
        return self._store.quotas.get(account.namespace, QUOTA_NAME)

    async def ensure(self, account: Account, cap: int) -> None:
        """Make sure that the quota's spec says this cap, and how many of other kinds there may be."""
        quota = self.of(account)
        if quota is None:
            await self._apply(account, cap, None)
        elif quota.spec_limit != cap or quota.objects != self._objects:
            await self._apply(account, cap, quota.shaken)

    async def _apply(self, account: Account, cap: int, shaken: int | None) -> None:
        namespace = account.namespace
        known = {} if shaken is None else {"shaken": shaken}
        body = build_quota(account.metadata.name, namespace, cap, self._objects, **known)
        self._store.quotas.written(await self._kube.apply(QUOTA, namespace, QUOTA_NAME, body, FIELD_MANAGER))


def _pause(shakes: int) -> float:
    """Seconds until the next shake; the power is bounded because a float is."""
    return float(min(WRONG_FOR * 2 ** min(shakes, 16), LONGEST))


def _verdict(account: Account, quota: QuotaView | None, cap: int, stuck: bool) -> Ready:
    if not in_force(quota, cap):
        return conditions.not_counted(stuck=stuck)
    return conditions.miscounting(cap) if stuck else conditions.counted(cap, suspended=account.spec.suspended)
