"""The namespace of an account: its manifest, and whether one that exists is ours. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final

from driftstack_common.kube.client import Body
from driftstack_common.names import LABEL_ACCOUNT

POD_SECURITY: Final = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}


PART: Final = {"app.kubernetes.io/part-of": "driftstack"}
"""As on everything of ours, so that one command can remove it all."""


class NamespaceState(Enum):
    """What a namespace of that name is."""

    MISSING = "missing"
    OURS = "ours"
    TERMINATING = "terminating"
    FOREIGN = "foreign"


def build_namespace(account: str, namespace: str) -> Body:
    """Return the namespace of an account."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {LABEL_ACCOUNT: account, **PART, **POD_SECURITY}},
    }


def held_by(body: Body | None) -> str:
    """Return what keeps a terminating namespace, in the API server's own words; empty when it doesn't say."""
    conditions = ((body or {}).get("status") or {}).get("conditions") or []
    return "; ".join(c.get("message", "") for c in conditions if c.get("status") == "True" and _tells(c["type"]))


def _tells(condition: str) -> bool:
    # NamespaceContentRemaining, NamespaceFinalizersRemaining, and the failures of discovery and deletion.
    return condition.endswith(("Remaining", "Failure"))


def state_of(body: Body | None, account: str) -> NamespaceState:
    """Judge what the API server has; a namespace without our label is somebody else's and left alone."""
    if body is None:
        return NamespaceState.MISSING
    if (body["metadata"].get("labels") or {}).get(LABEL_ACCOUNT) != account:
        return NamespaceState.FOREIGN
    if body["metadata"].get("deletionTimestamp") or (body.get("status") or {}).get("phase") == "Terminating":
        return NamespaceState.TERMINATING
    return NamespaceState.OURS
