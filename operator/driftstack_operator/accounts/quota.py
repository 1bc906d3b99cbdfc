"""The ResourceQuota that is an account's concurrency limit: its manifest, its state, and when to shake it. Pure.

It also bounds what members can make with kubectl beside sessions, so that no account fills the API server.

Three traps of the quota controller are healed by a change of `spec.hard`, which makes it compute anew: a quota made
before the controller knows our kind stays "status unknown" for minutes, a create that is refused as AlreadyExists
is charged for good, and a count computed from a stale cache stays too low until something is deleted. The change is
to a key that limits nothing anybody uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from driftstack_common.kube.client import Body
from driftstack_common.names import (
    ARCHETYPE_QUOTA,
    KEY_QUOTA,
    LABEL_ACCOUNT,
    QUOTA_NAME,
    SESSION_QUOTA,
    WEBHOOK_QUOTA,
)

SHAKEN: Final = "count/replicationcontrollers"
"""The unrelated key whose number changes."""
OBJECT_QUOTAS: Final = (KEY_QUOTA, ARCHETYPE_QUOTA, WEBHOOK_QUOTA)
_UNSHAKEN: Final = 1_000_000
_SUFFIXES: Final = {"k": 10**3, "M": 10**6, "G": 10**9}


class QuotaView(msgspec.Struct, frozen=True, kw_only=True):
    """A quota: what its spec says, what is in force, what the API server has counted; None where not said.

    Attributes:
        objects: what the spec says of other kinds, by key.
    """

    account: str
    namespace: str
    spec_limit: int | None = None
    limit: int | None = None
    used: int | None = None
    shaken: int = _UNSHAKEN
    objects: dict[str, int] = {}


def read_quota(body: Body) -> QuotaView:
    """Return the view of a ResourceQuota object."""
    meta, status = body["metadata"], body.get("status") or {}
    hard = body.get("spec", {}).get("hard") or {}
    return QuotaView(
        account=(meta.get("labels") or {}).get(LABEL_ACCOUNT, ""),
        namespace=meta.get("namespace", ""),
        spec_limit=_number(hard.get(SESSION_QUOTA)),
        limit=_number((status.get("hard") or {}).get(SESSION_QUOTA)),
        used=_number((status.get("used") or {}).get(SESSION_QUOTA)),
        shaken=_number(hard.get(SHAKEN)) or _UNSHAKEN,
        objects={key: _number(hard[key]) or 0 for key in OBJECT_QUOTAS if key in hard},
    )


def build_quota(
    account: str, namespace: str, cap: int, objects: Mapping[str, int], shaken: int = _UNSHAKEN
) -> Body:
    """Return the quota of an account's namespace."""
    hard = {SESSION_QUOTA: cap, **objects, SHAKEN: shaken}
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": QUOTA_NAME, "namespace": namespace, "labels": {LABEL_ACCOUNT: account}},
        "spec": {"hard": {key: str(most) for key, most in hard.items()}},
    }


def next_shake(quota: QuotaView) -> int:
    """Return another number for the unrelated key."""
    return _UNSHAKEN if quota.shaken != _UNSHAKEN else _UNSHAKEN + 1


def in_force(quota: QuotaView | None, cap: int) -> bool:
    """Whether the API server refuses what is beyond the cap."""
    return quota is not None and quota.limit == cap and quota.used is not None


def miscounted(quota: QuotaView | None, live: int) -> bool:
    """Whether more sessions are charged than there are, or fewer."""
    return quota is not None and quota.used is not None and quota.used != live


def _number(text: str | None) -> int | None:
    """Return a count; the API server writes 1000 as `1k`, as it does with all quantities."""
    whole, power = (text[:-1], _SUFFIXES[text[-1:]]) if text and text[-1] in _SUFFIXES else (text, 1)
    return int(whole) * power if whole is not None and str(whole).isdigit() else None
