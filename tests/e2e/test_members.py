"""An account's members with kubectl: what their role says, in their account alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import pykube

from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import VERSION, change_account, eventually, session, wait_ready

SOON: Final = 5.0
OURS: Final = "driftstack.dev"
RBAC: Final = "rbac.authorization.k8s.io"

Who = dict[str, Any]
VIEWER: Final[Who] = {"user": "vera", "groups": ["watchers"]}
USER: Final[Who] = {"user": "alice"}
ADMIN: Final[Who] = {"user": "system:serviceaccount:default:robot"}
MEMBERS: Final = [
    {"kind": "Group", "name": "watchers", "role": "viewer"},
    {"kind": "User", "name": "alice", "role": "user"},
    {"kind": "ServiceAccount", "name": "robot", "namespace": "default", "role": "admin"},
]

Right = tuple[str, str]
"""Verb, and `group/resource` or `group/resource:subresource`."""
SEEN: Final = ("browsersessions", "sessionrecords", "accountusages", "archetypes")
SEE: Final[list[Right]] = [("list", f"{OURS}/{kind}") for kind in SEEN]
USE: Final[list[Right]] = [(verb, f"{OURS}/browsersessions") for verb in ("create", "delete", "patch")]
KEYS: Final[list[Right]] = [(verb, f"{OURS}/apikeys") for verb in ("get", "create", "delete", "patch")]
NOTHING_OF: Final = [
    *("/resourcequotas", "/secrets", "/pods", "/serviceaccounts", f"{RBAC}/roles", f"{RBAC}/rolebindings"),
    *(f"{OURS}/{kind}" for kind in ("accounts", "browsersessions:status", "apikeys:status", "createrequests")),
]
NEVER: Final[list[Right]] = [
    *((verb, what) for verb in ("get", "create", "patch", "delete") for what in NOTHING_OF),
    *(
        (verb, f"{OURS}/{kind}")
        for kind in ("sessionrecords", "accountusages")
        for verb in ("create", "patch", "delete")
    ),
    *((verb, f"{OURS}/apikeys") for verb in ("restore", "deletecollection")),
]


def may(kube: pykube.HTTPClient, who: Who, right: Right, namespace: str) -> bool:
    """Ask what `kubectl auth can-i` asks."""
    group, _, resource = right[1].rpartition("/")
    resource, _, subresource = resource.partition(":")
    attributes = {"verb": right[0], "group": group, "resource": resource, "subresource": subresource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {**who, "resourceAttributes": {**attributes, "namespace": namespace}},
    }
    answer = kube.post(version="authorization.k8s.io/v1", url="subjectaccessreviews", json=review)
    return bool(answer.json()["status"]["allowed"])


def kubectl(installation: Installation, who: Who, *words: str, stdin: str | None = None) -> str:
    """Run kubectl as somebody; return all that it said."""
    done = installation.run_kubectl(*words, "--as", who["user"], stdin=stdin)
    return done.stdout + done.stderr


def test_members_may_what_their_role_says_in_their_account_alone(
    account_of: Callable[..., Tenant], kube: pykube.HTTPClient
) -> None:
    own, other = account_of(members=MEMBERS), account_of()
    eventually(lambda: may(kube, ADMIN, KEYS[0], own.namespace), SOON, "the bindings")
    roles = {"viewer": (VIEWER, SEE), "user": (USER, SEE + USE), "admin": (ADMIN, SEE + USE + KEYS)}
    wrong = []
    for role, (who, allowed) in roles.items():
        for right in SEE + USE + KEYS + NEVER:
            if may(kube, who, right, own.namespace) is not (right in allowed):
                wrong.append(f"{role}: {right}")
            if may(kube, who, right, other.namespace):
                wrong.append(f"{role}: {right} in another account")
    assert not wrong, "\n".join(wrong)


def test_member_uses_kubectl(
    account_of: Callable[..., Tenant], installation: Installation, kube: pykube.HTTPClient
) -> None:
    own, other = account_of(members=MEMBERS), account_of()
    eventually(lambda: may(kube, USER, USE[0], own.namespace), SOON, "the binding")
    manifest = json.dumps(session(own.namespace, "mine"))
    assert "created" in kubectl(installation, USER, "apply", "-f", "-", stdin=manifest)
    wait_ready(kube, own.namespace, "mine")
    assert "mine" in kubectl(installation, USER, "get", OURS.split(".")[0], "-n", own.namespace)
    assert "deleted" in kubectl(installation, USER, "delete", "bs", "mine", "-n", own.namespace)
    for words in (["bs", "-n", other.namespace], ["secrets", "-n", own.namespace], ["accounts"]):
        assert "Forbidden" in kubectl(installation, USER, "get", *words), words
    foreign = json.dumps(session(other.namespace, "theirs"))
    assert "Forbidden" in kubectl(installation, USER, "create", "-f", "-", stdin=foreign)


def test_bindings_are_healed_and_removed(account_of: Callable[..., Tenant], kube: pykube.HTTPClient) -> None:
    account = account_of(members=MEMBERS)
    bindings = pykube.RoleBinding.objects(kube, namespace=account.namespace)
    found = eventually(lambda: bindings.get_or_none(name="driftstack-account-user"), SOON, "the binding")
    found.patch({"subjects": [{"apiGroup": RBAC, "kind": "User", "name": "mallory"}]})
    eventually(lambda: may(kube, USER, USE[0], account.namespace), SOON, "alice again")
    eventually(lambda: not may(kube, {"user": "mallory"}, USE[0], account.namespace), SOON, "mallory no more")
    uid = bindings.get(name="driftstack-account-user").metadata["uid"]
    bindings.get(name="driftstack-account-user").delete()
    made = eventually(lambda: bindings.get_or_none(name="driftstack-account-user"), SOON, "the binding again")
    assert made.metadata["uid"] != uid
    change_account(kube, account.name, members=[MEMBERS[0]])
    eventually(lambda: not may(kube, USER, USE[0], account.namespace), SOON, "alice is no member any more")
    eventually(lambda: not may(kube, ADMIN, KEYS[0], account.namespace), SOON, "nor is the robot")
    assert may(kube, VIEWER, SEE[0], account.namespace)


def test_admin_of_an_account_cannot_take_an_id(
    account_of: Callable[..., Tenant], installation: Installation, kube: pykube.HTTPClient
) -> None:
    account = account_of(members=MEMBERS)
    eventually(lambda: may(kube, ADMIN, KEYS[1], account.namespace), SOON, "the binding")
    meta = {"name": "forged", "namespace": account.namespace}
    spec = {"name": "forged", "scopes": ["read"], "sha256": "0" * 64}
    key = {"apiVersion": VERSION, "kind": "ApiKey", "metadata": meta, "spec": spec}
    stolen = account.api.get("/v1/whoami").json()["api_key_id"]
    forged = json.dumps({**key, "metadata": {**meta, "annotations": {"driftstack.dev/id": stolen}}})
    refused = kubectl(installation, ADMIN, "create", "-f", "-", stdin=forged)
    assert "the annotation driftstack.dev/id is for restored backups" in refused
    assert "created" in kubectl(installation, ADMIN, "create", "-f", "-", stdin=json.dumps(key))
    annotate = ["annotate", "akey", "forged", "-n", account.namespace, "--overwrite", f"driftstack.dev/id={stolen}"]
    assert "can't be set, changed or removed" in kubectl(installation, ADMIN, *annotate)
