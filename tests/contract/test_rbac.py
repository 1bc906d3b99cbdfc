"""RBAC covers the calls that operator and facade make, as far as their source tells, and nothing forbidden."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from driftstack_common import kinds
from driftstack_common.kinds import Kind, MemberRole, Resource
from driftstack_common.kube import client
from driftstack_operator.accounts.binding import COMPONENTS, ROLE_PREFIX, role_name
from tests.contract.conftest import Manifest, Render
from tests.contract.crds import ROOT

HOOK: Final = sorted((ROOT / "operator" / "driftstack_operator" / "uninstall").rglob("*.py"))
OPERATOR: Final = ROOT / "operator" / "driftstack_operator"
OUTBOX: Final = OPERATOR / "webhooks" / "outbox.py"
DISPATCHER: Final = sorted(set((OPERATOR / "webhooks").glob("*.py")) - {OUTBOX})
SOURCES: Final = {
    "operator": sorted(set(OPERATOR.rglob("*.py")) - set(HOOK) - set(DISPATCHER)),
    "dispatcher": [*DISPATCHER, OPERATOR / "leadership" / "elector.py"],
    "facade": sorted((ROOT / "api" / "driftstack_api").rglob("*.py")),
    "uninstall": HOOK,
}

VERBS: Final = {
    "get": {"get"},
    "list_objects": {"list"},
    "create": {"create"},
    "json_patch": {"patch"},
    "merge_patch": {"patch"},
    "apply": {"patch", "create"},
    "delete": {"delete"},
    "list_metadata": {"list"},
    "watch": {"watch"},
    "_reflector": {"list", "watch"},
    "Reflector": {"list", "watch"},
    "_list": {"list"},
    "_fetch": {"get"},
    "fetch": {"get"},
    "_delete": {"delete"},
    "_drop_finalizer": {"patch"},
    "Scope": {"list"},
}
"""Verbs that a call by this name needs: methods of KubeClient, and the components' own functions around them."""

Grant = tuple[str, str, str]
"""API group, resource (with subresource), verb."""

BIND: Final[Grant] = ("rbac.authorization.k8s.io", "clusterroles", "bind")
"""What the API server asks of the operator when it writes a binding; no call of its own."""


FURTHER: Final = {
    "operator": {"watch", "create", "delete"},
    "facade": {"watch", "create", "delete"},
    "dispatcher": {"watch", "create"},
    "uninstall": {"delete"},
}
"""Verbs of each component beside those that all have."""
OF_SECRETS: Final[dict[str, set[Grant]]] = {
    "dispatcher": {("", "secrets", "get")},
    "facade": {("", "secrets", "create"), ("", "secrets", "delete")},
}
"""What a component may do with Secrets, in accounts' namespaces alone."""


def known_kinds() -> dict[str, Kind]:
    """Return kinds by the words that the source uses for them: `Session` (for `Session.KIND`), `POD`."""
    ours = {name: value.KIND for name, value in vars(kinds).items() if _is_model(value)}
    return ours | {name: value for name, value in vars(client).items() if isinstance(value, Kind)}


def _name(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


def _is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Resource) and value is not Resource


def calls(sources: list[Path]) -> Iterator[tuple[str, Grant]]:
    """Yield what each call needs whose kind is written at the call, with the place of the call."""
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            found = needs(node) if isinstance(node, ast.Call) else handled(node)
            for grant in found:
                yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", grant


def needs(call: ast.Call) -> Iterator[Grant]:
    """Yield the grants that one call needs; nothing when it is no call to Kubernetes."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    found = [kind for argument in arguments if (kind := kind_of(argument))]
    if name not in VERBS or not found:
        return
    kind = found[0]
    below = next((f"/{text}" for text in ("status", "scale") if any(is_text(a, text) for a in arguments)), "")
    resource = f"{kind.plural}{below}"
    for verb in sorted(VERBS[name]):
        yield kind.group, resource, verb


def handled(node: ast.AST) -> Iterator[Grant]:
    """Yield the grants of a pair of kind and handler: kopf lists and watches the kind."""
    if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[1], ast.Attribute):
        kind = kind_of(node.elts[0])
        if kind is not None:
            yield kind.group, kind.plural, "list"
            yield kind.group, kind.plural, "watch"


def kind_of(node: ast.expr) -> Kind | None:
    """Return the kind that an argument names: `Session.KIND`, `Session` or `POD`."""
    if isinstance(node, ast.Attribute) and node.attr == "KIND":
        node = node.value
    return known_kinds().get(node.id) if isinstance(node, ast.Name) else None


def is_text(node: ast.expr, text: str) -> bool:
    """Whether an argument is this very text."""
    return isinstance(node, ast.Constant) and node.value == text


def grants(manifests: list[Manifest], component: str) -> set[Grant]:
    """Return all that the roles of a component allow, its role in accounts' namespaces included."""
    roles = [m for m in manifests if m["kind"] in ("Role", "ClusterRole")]
    named = (f"driftstack-{component}", f"{ROLE_PREFIX}{component}")
    rules = [r for role in roles if role["metadata"]["name"] in named for r in role["rules"]]
    return {(g, s, v) for r in rules for g in r["apiGroups"] for s in r["resources"] for v in r["verbs"]}


@pytest.mark.parametrize("component", SOURCES)
def test_every_call_is_allowed(render: Render, component: str) -> None:
    made = list(calls(SOURCES[component]))
    assert {grant[2] for _, grant in made} == {"get", "list", "patch"} | FURTHER[component]
    allowed = grants(render("minimal-values.yaml"), component)
    missing = [f"{place}: {grant[2]} {grant[1]}" for place, grant in made if grant not in allowed]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("component", SOURCES)
def test_nothing_is_granted_that_no_call_needs(render: Render, component: str) -> None:
    made = {grant for _, grant in calls(SOURCES[component])}
    unused = grants(render("minimal-values.yaml"), component) - made
    assert unused == ({BIND} if component == "operator" else set())


@pytest.mark.parametrize("component", SOURCES)
def test_nothing_is_granted_wholesale(render: Render, component: str) -> None:
    own = {BIND} | OF_SECRETS.get(component, set())
    for group, resource, verb in grants(render("minimal-values.yaml"), component) - own:
        assert "*" not in (group, resource, verb)
        assert resource not in ("secrets", "roles", "clusterroles", "serviceaccounts/token", "pods/exec")
        assert verb not in ("bind", "escalate", "impersonate", "deletecollection")


def test_secrets_are_read_in_accounts_namespaces_alone(render: Render) -> None:
    roles = [
        m for m in render("minimal-values.yaml") if any("secrets" in r["resources"] for r in m.get("rules", []))
    ]
    bound = {role_name(component) for component in COMPONENTS}
    assert {role["metadata"]["name"] for role in roles} <= bound
    assert not [
        m
        for m in render("minimal-values.yaml")
        if m["kind"].endswith("Binding") and m.get("roleRef", {}).get("name") in bound
    ]


def members_roles(manifests: list[Manifest]) -> dict[str, set[Grant]]:
    """Return what each role of members allows, by its name."""
    names = [m["metadata"]["name"] for m in manifests if m["kind"] == "ClusterRole"]
    ours = {role_name(component) for component in COMPONENTS}
    found = [n for n in names if n.startswith(ROLE_PREFIX) and n not in ours]
    return {n: grants(manifests, n.removeprefix("driftstack-")) for n in found}


def test_operator_may_bind_the_roles_of_members_and_components_alone(render: Render) -> None:
    manifests = render("minimal-values.yaml")
    bind = [rule for m in manifests for rule in m.get("rules", []) if "bind" in rule["verbs"]]
    expected = [role_name(role) for role in MemberRole]
    assert [rule["resourceNames"] for rule in bind] == [[*expected, *map(role_name, COMPONENTS)]]
    assert sorted(members_roles(manifests)) == sorted(expected)


READ: Final = (
    "browsersessions",
    "sessionrecords",
    "accountusages",
    "archetypes",
    "webhookendpoints",
    "webhookdeliveries",
)


def test_members_have_rights_on_our_kinds_and_no_other(render: Render) -> None:
    roles = members_roles(render("minimal-values.yaml"))
    viewer, user, admin = (roles[role_name(role)] for role in MemberRole)
    assert viewer < user < admin
    assert {(resource, verb) for _, resource, verb in viewer} == {
        (resource, verb) for resource in (*READ, "events") for verb in ("get", "list", "watch")
    }
    writes = ("create", "update", "patch", "delete")
    assert {(resource, verb) for _, resource, verb in user - viewer} == {
        (resource, verb) for resource in ("browsersessions", "archetypes") for verb in writes
    }
    assert {resource for _, resource, _ in admin - user} == {"apikeys", "webhookendpoints"}
    # `restore` and `*` would let them take ids (the policy driftstack-ids).
    assert {verb for *_, verb in admin} == {"get", "list", "watch", *writes}


def test_facade_has_no_rights_outside_our_own_kinds(render: Render) -> None:
    others = grants(render("minimal-values.yaml"), "facade") - OF_SECRETS["facade"]
    assert {group for group, _, _ in others} == {"driftstack.dev"}


def test_pods_are_the_operators_in_one_namespace_only(render: Render) -> None:
    manifests = render("full-values.yaml")
    with_pods = [m for m in manifests if any("pods" in rule["resources"] for rule in m.get("rules", []))]
    found = {(m["metadata"]["name"], m["kind"], m["metadata"]["namespace"]) for m in with_pods}
    assert found == {
        ("driftstack-operator", "Role", "browsers-elsewhere"),
        ("driftstack-uninstall", "Role", "browsers-elsewhere"),
        ("driftstack-uninstall", "Role", "driftstack-system"),
    }


def test_nobody_has_the_hooks_rights_before_it_runs(render: Render) -> None:
    (account,) = (
        m
        for m in render("minimal-values.yaml")
        if m["kind"] == "ServiceAccount" and m["metadata"]["name"] == "driftstack-uninstall"
    )
    assert account["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"


def test_hook_scales_our_own_deployments_only(render: Render) -> None:
    manifests = render("minimal-values.yaml")
    rules = [rule for m in manifests for rule in m.get("rules", []) if "deployments/scale" in rule["resources"]]
    assert [rule["resourceNames"] for rule in rules] == [
        [m["metadata"]["name"] for m in sorted(manifests, key=_name) if m["kind"] == "Deployment"][::-1]
    ]
