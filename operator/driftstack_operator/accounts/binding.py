"""The RoleBindings in an account's namespace: one for each role of its members and of our components. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from driftstack_common.kinds import Account, MemberRole
from driftstack_common.kube.client import BINDING, Body
from driftstack_common.names import LABEL_ACCOUNT
from driftstack_operator.accounts.namespace import PART

ROLE_PREFIX: Final = "driftstack-account-"
"""The chart's ClusterRole of a role, and our binding to it, are called this and the role."""
COMPONENTS: Final = ("facade", "dispatcher")
"""Each has a role of its own: what it may do with the Secrets of webhook endpoints."""

Subject = tuple[str, str, str]
"""Kind, namespace (of a ServiceAccount, else empty) and name."""


class BindingView(msgspec.Struct, frozen=True, kw_only=True):
    """A RoleBinding: of which account, to which role, and for whom."""

    account: str
    namespace: str
    name: str
    uid: str
    role: Subject
    subjects: frozenset[Subject]


def read_binding(body: Body) -> BindingView:
    """Return the view of a RoleBinding object."""
    meta, role = body["metadata"], body["roleRef"]
    return BindingView(
        account=(meta.get("labels") or {}).get(LABEL_ACCOUNT, ""),
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        role=(role["kind"], "", role["name"]),
        subjects=frozenset((s["kind"], s.get("namespace", ""), s["name"]) for s in body.get("subjects") or []),
    )


def role_name(role: str) -> str:
    """Return the name of the role's ClusterRole and of the binding to it."""
    return f"{ROLE_PREFIX}{role}"


def subjects_of(account: Account) -> dict[str, frozenset[Subject]]:
    """Return who is to have each role, by its name; empty for a role that nobody has."""
    found: dict[str, set[Subject]] = {role_name(role): set() for role in MemberRole}
    for member in account.spec.members:
        found[role_name(member.role)].add((member.kind, member.namespace or "", member.name))
    return {name: frozenset(subjects) for name, subjects in found.items()}


def components_of(system_namespace: str) -> dict[str, frozenset[Subject]]:
    """Return the same for our components, whose ServiceAccounts are in this namespace."""
    return {
        role_name(each): frozenset({("ServiceAccount", system_namespace, f"driftstack-{each}")})
        for each in COMPONENTS
    }


def is_sound(binding: BindingView) -> bool:
    """Whether it binds to the role of its name: that of a binding can't change, it must be made anew."""
    return binding.role == ("ClusterRole", "", binding.name)


def build_binding(account: Account, name: str, subjects: frozenset[Subject]) -> Body:
    """Return the binding of subjects to the role of this name in an account's namespace."""
    return {
        "apiVersion": BINDING.api_version,
        "kind": BINDING.name,
        "metadata": {
            "name": name,
            "namespace": account.namespace,
            "labels": {LABEL_ACCOUNT: account.metadata.name, **PART},
        },
        "roleRef": {"apiGroup": BINDING.group, "kind": "ClusterRole", "name": name},
        "subjects": [_subject(*subject) for subject in sorted(subjects)],
    }


def _subject(kind: str, namespace: str, name: str) -> Body:
    if kind == "ServiceAccount":
        return {"kind": kind, "name": name, "namespace": namespace}
    return {"apiGroup": BINDING.group, "kind": kind, "name": name}
