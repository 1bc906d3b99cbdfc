"""What the API server refuses by itself: broken manifests, and writes that belong to somebody else.

Every write here is a dry run, which passes all of admission and stores nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pykube
import pytest
import yaml

from tests.e2e.conftest import Tenant
from tests.e2e.objects import BROWSERS, SYSTEM, VERSION, apply_session, wait_ready

FACADE: Final = f"system:serviceaccount:{SYSTEM}:driftstack-facade"
OPERATOR: Final = f"system:serviceaccount:{SYSTEM}:driftstack-operator"
CREATED_AT: Final = "driftstack.dev/created-at"
API_KEY_ID: Final = "driftstack.dev/api-key-id"
FINALIZER: Final = "driftstack.dev/session"
ZEROS: Final = "00000000-0000-0000-0000-000000000000"

Body = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the API server said; message is empty when it agreed."""

    status: int
    body: Body

    @property
    def message(self) -> str:
        return str(self.body.get("message", "")) if self.status >= 300 else ""


@dataclass(frozen=True)
class Door:
    """The API server with dry runs, as an administrator or as somebody else."""

    kube: pykube.HTTPClient
    user: str | None = None

    def create(self, plural: str, body: Body, namespace: str | None = None, version: str = VERSION) -> Answer:
        return self._answer(self.kube.post(**self._to(plural, namespace, version), json=body))

    def patch(self, url: str, patch: Body, namespace: str | None = None, version: str = VERSION) -> Answer:
        headers = {"Content-Type": "application/merge-patch+json"}
        return self._answer(self.kube.patch(**self._to(url, namespace, version, headers), json=patch))

    def _to(self, url: str, namespace: str | None, version: str, headers: Body | None = None) -> Body:
        impersonation = {"Impersonate-User": self.user} if self.user else {}
        to: Body = {"version": version, "url": url, "headers": {**(headers or {}), **impersonation}}
        to["params"] = {"dryRun": "All", "fieldValidation": "Strict"}
        return {**to, "namespace": namespace} if namespace else to

    @staticmethod
    def _answer(response: Any) -> Answer:
        return Answer(response.status_code, response.json())


@pytest.fixture
def admin(kube: pykube.HTTPClient) -> Door:
    return Door(kube)


@pytest.fixture
def facade(kube: pykube.HTTPClient) -> Door:
    return Door(kube, FACADE)


@pytest.fixture
def operator(kube: pykube.HTTPClient) -> Door:
    return Door(kube, OPERATOR)


# --- broken manifests ---------------------------------------------------------------------------------------------

GOOD: Final[dict[str, Body]] = {
    "browsersessions": {
        "kind": "BrowserSession",
        "metadata": {"name": "good"},
        "spec": {"archetype": "default", "label": "x", "metadata": {"deep": {"er": [1, None]}}},
    },
    "accounts": {"kind": "Account", "metadata": {"name": "a" * 58}, "spec": {"tier": "free"}},
    "apikeys": {
        "kind": "ApiKey",
        "metadata": {"name": "good"},
        "spec": {"name": "good", "scopes": ["read:sessions"], "sha256": "0" * 64},
    },
    "archetypes": {
        "kind": "Archetype",
        "metadata": {"name": "my-phone"},
        "spec": {
            "slug": "my_phone",
            "device": {"viewport": {"width": 400, "height": 800}, "pixelRatio": 2, "touch": True, "mobile": True},
        },
    },
    "browserpools": {
        "kind": "BrowserPool",
        "metadata": {"name": "good"},
        "spec": {"image": "x", "nameservers": ["2001:db8::53"], "resources": {"limits": {"memory": "1Gi"}}},
    },
    "createrequests": {
        "kind": "CreateRequest",
        "metadata": {"name": "good"},
        "spec": {"bodySha256": "0" * 64, "sessionName": "rest-0"},
    },
}

BROKEN: Final[list[tuple[str, str, Any, str]]] = [
    ("browsersessions", "spec.archetyp", "default", 'unknown field "spec.archetyp"'),
    ("browsersessions", "spec.archetype", "De-Fault", "should match '^[a-z0-9_]{3,60}$'"),
    ("browsersessions", "spec.archetype", 7, "must be of type string"),
    ("browsersessions", "spec.purpose", "fun", 'supported values: "production_customer"'),
    ("browsersessions", "spec.label", "x" * 121, "may not be more than 120"),
    ("browsersessions", "spec.metadata", ["a"], "must be of type object"),
    ("browsersessions", "spec.behavioralProfile", "hasty", 'supported values: "casual", "regular", "power_user"'),
    ("browsersessions", "spec.idleTimeoutSeconds", 0, "should be greater than or equal to 1"),
    ("browsersessions", "spec.maxDurationSeconds", "10m", "must be of type integer"),
    ("browsersessions", "metadata.name", "Not_A_Name", "a lowercase RFC 1123 subdomain"),
    ("accounts", "metadata.name", "a" * 59, "at most 58 characters"),
    ("accounts", "metadata.name", "a.b", "lower-case letters, digits and '-'"),
    ("accounts", "spec.tier", "gold", "Unsupported value"),
    ("accounts", "spec.overrides", {"concurrentSessions": -1}, "should be greater than or equal to 0"),
    ("accounts", "metadata.name", "a" * 63, "at most 58 characters"),
    ("accounts", "metadata.name", "Acme", "a lowercase RFC 1123 subdomain"),
    ("accounts", "metadata.name", "acme-", "a lowercase RFC 1123 subdomain"),
    ("accounts", "spec.members", [{"kind": "User", "name": "a", "role": "owner"}], "Unsupported value"),
    ("accounts", "spec.members", [{"kind": "User", "name": "", "role": "user"}], "at least 1 chars"),
    ("accounts", "spec.members", [{"kind": "ServiceAccount", "name": "a", "role": "user"}], "needs the namespace"),
    ("accounts", "spec.members", [{"kind": "User", "namespace": "n", "name": "a", "role": "user"}], "has none"),
    (
        "accounts",
        "spec.members",
        [{"kind": "ServiceAccount", "namespace": "n", "name": "n:a", "role": "user"}],
        "the name of a ServiceAccount has lower-case letters",
    ),
    ("accounts", "spec.overrides", {"expiresAt": "tomorrow"}, "must be of type date-time"),
    ("accounts", "spec.overrides", {"expiresAt": "2027-01-01T00:00:00,5Z"}, "should match"),
    ("accounts", "spec.overrides", {"rateLimits": {"global": {"capacity": 5}}}, "Required value"),
    (
        "accounts",
        "spec.overrides",
        {"rateLimits": {"sessionsCreate": {"capacity": 5, "refillPerMinute": 0}}},
        "should be greater than or equal to 1",
    ),
    ("accounts", "spec.overrides", {"sessions": 1}, 'unknown field "spec.overrides.sessions"'),
    ("apikeys", "spec.scopes", [], "should have at least 1 items"),
    ("apikeys", "spec.scopes", ["read", "read"], "Duplicate value"),
    ("apikeys", "spec.scopes", ["admin"], "Unsupported value"),
    ("apikeys", "spec.sha256", "A" * 64, "should match '^[0-9a-f]{64}$'"),
    ("apikeys", "spec.sha256", None, "Required value"),
    ("apikeys", "spec.expiresAt", "tomorrow", "must be of type date-time"),
    ("apikeys", "spec.expiresAt", "2027-01-01T00:00:00+99:00", "should match"),
    ("apikeys", "spec.revokedAt", "2026-01-01T00:00:00Z", "revokedAt alone revokes nothing"),
    ("archetypes", "metadata.name", "other", "the name of an archetype is its slug with '-' in place of '_'"),
    ("archetypes", "spec.device.pixelRatio", 5, "should be less than or equal to 4"),
    ("archetypes", "spec.device.viewport", {"width": 400}, "Required value"),
    ("archetypes", "spec.device.viewport", {"width": 3840, "height": 3840}, "too large a picture"),
    ("archetypes", "spec.device.touch", False, "a mobile device has a touch screen"),
    ("archetypes", "spec.device.timezone", "Europe/../etc", "should match"),
    ("archetypes", "spec.device.userAgent", "a\nb", "should match"),
    ("browserpools", "spec.image", None, "Required value"),
    ("browserpools", "spec.replicas", -1, "should be greater than or equal to 0"),
    ("browserpools", "spec.nameservers", ["dns.example"], "a nameserver is an IP address"),
    ("browserpools", "spec.seccompProfile", "a/../b", "can't leave the kubelet's seccomp folder"),
    ("browserpools", "spec.resources.limits", {"cpu": 2}, "must be of type string"),
    ("browserpools", "spec.resources.requests", {"memory": "2Gi"}, "requests.memory is more than limits.memory"),
    ("browserpools", "spec.tolerations", [{"effect": "NoSchedule"}], "needs operator Exists"),
    ("createrequests", "spec.bodySha256", "", "should be at least 64 chars"),
]


def broken(plural: str, path: str, value: Any) -> Body:
    """Return the good manifest with one field set, or removed when the value is None."""
    body = copy.deepcopy(GOOD[plural])
    *parents, last = path.split(".")
    where = body
    for word in parents:
        where = where.setdefault(word, {})
    if value is None:
        del where[last]
    else:
        where[last] = value
    return body


def home(plural: str, account: Tenant) -> str | None:
    """Return where objects of a kind live; None for cluster-scoped ones."""
    homes = {"accounts": None, "browserpools": BROWSERS}
    return homes.get(plural, account.namespace)


def test_broken_manifests_are_refused_with_the_field_named(admin: Door, account: Tenant) -> None:
    for plural, body in GOOD.items():
        answer = admin.create(plural, {"apiVersion": VERSION, **body}, home(plural, account))
        assert answer.status == 201, f"{plural}: {answer.message}"
    wrong = []
    for plural, path, value, expected in BROKEN:
        body = {"apiVersion": VERSION, **broken(plural, path, value)}
        answer = admin.create(plural, body, home(plural, account))
        is_named = expected in answer.message and path.split(".")[-1] in answer.message
        if answer.status not in (400, 422) or not is_named:
            wrong.append(f"{plural} {path}={value!r}: {answer.status} {answer.message}")
    assert not wrong, "\n".join(wrong)


def test_metadata_comes_back_as_it_was_given(admin: Door, account: Tenant) -> None:
    given = {"a": None, "b": [1, {"c": None}], "": 0.5, "ü": "x" * 1000, **{f"key-{n}": n for n in range(800)}}
    body = {"apiVersion": VERSION, **broken("browsersessions", "spec.metadata", given)}
    answer = admin.create("browsersessions", body, account.namespace)
    assert answer.status == 201, answer.message
    assert answer.body["spec"]["metadata"] == given


# --- who may write what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plural", ["browsersessions", "apikeys", "createrequests"])
def test_a_namespace_without_account_is_refused_with_advice(admin: Door, plural: str) -> None:
    answer = admin.create(plural, {"apiVersion": VERSION, **GOOD[plural]}, "default")
    assert answer.status == 422
    assert "namespace default belongs to no account: create an Account" in answer.message
    assert "kubectl get accounts" in answer.message


def test_an_account_namespace_cannot_be_forged(admin: Door, operator: Door, account: Tenant) -> None:
    def namespace(name: str) -> Body:
        labels = {"driftstack.dev/account": "forged"}
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}

    expected = "only the operator may set the label driftstack.dev/account"
    assert expected in admin.create("namespaces", namespace("acct-forged"), version="v1").message
    for label in ("other", None):
        patch = {"metadata": {"labels": {"driftstack.dev/account": label}}}
        assert expected in admin.patch(f"namespaces/{account.namespace}", patch, version="v1").message
    harmless = {"metadata": {"labels": {"a": "b"}}}
    assert admin.patch(f"namespaces/{account.namespace}", harmless, version="v1").status == 200

    assert operator.create("namespaces", namespace("acct-forged"), version="v1").status == 201
    elsewhere = operator.create("namespaces", namespace("kube-forged"), version="v1")
    assert "the namespaces, quotas and role bindings of accounts (acct-…) alone" in elsewhere.message


def test_operator_binds_members_to_their_roles_alone(operator: Door, account: Tenant) -> None:
    group = "rbac.authorization.k8s.io"

    def bind(role: str, namespace: str) -> Answer:
        body = {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "forged"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "mallory"}],
        }
        return operator.create("rolebindings", body, namespace, version=f"{group}/v1")

    assert bind("driftstack-account-admin", account.namespace).status == 201
    assert bind("driftstack-account-admin", "default").status == 403
    # It has all the rights of this one itself, so that RBAC alone would let it.
    refused = bind("driftstack-operator", account.namespace)
    assert "binds the roles of accounts' members and of its own components alone" in refused.message
    assert bind("cluster-admin", account.namespace).status == 403


ID: Final = "driftstack.dev/id"


@pytest.mark.parametrize(("plural", "prefix"), [("accounts", "acc"), ("apikeys", "key")])
def test_ids_cannot_be_forged(admin: Door, operator: Door, account: Tenant, plural: str, prefix: str) -> None:
    def with_id(value: str) -> Body:
        body = {"apiVersion": VERSION, **copy.deepcopy(GOOD[plural])}
        body["metadata"]["annotations"] = {ID: value}
        return body

    where, stolen = home(plural, account), f"{prefix}_{ZEROS}"
    restored = admin.create(plural, with_id(stolen), where)
    assert restored.status == 201, restored.message
    assert "a UUID in lower case" in admin.create(plural, with_id("acc_1"), where).message
    for other in (Door(admin.kube, "mallory"), operator):
        assert other.create(plural, with_id(stolen), where).status == 403
    name = account.name if plural == "accounts" else "e2e"
    for value in (stolen, None):
        answer = admin.patch(f"{plural}/{name}", {"metadata": {"annotations": {ID: value}}}, where)
        assert answer.status == 403
        assert "to restore an id, delete the object and create it with the annotation" in answer.message
    harmless = {"metadata": {"annotations": {"example.test/note": "mine"}}}
    assert admin.patch(f"{plural}/{name}", harmless, where).status == 200


def test_every_session_gets_the_finalizer(admin: Door, account: Tenant) -> None:
    for given in ([], ["example.test/mine"], [FINALIZER]):
        body = {"apiVersion": VERSION, "kind": "BrowserSession", "metadata": {"name": "x", "finalizers": given}}
        stored = admin.create("browsersessions", body, account.namespace).body
        assert stored["metadata"]["finalizers"] == [*(f for f in given if f != FINALIZER), FINALIZER]
        assert stored["spec"] == {"purpose": "production_customer", "behavioralProfile": "regular"}


@pytest.mark.parametrize("annotation", [CREATED_AT, API_KEY_ID])
def test_annotations_of_the_facade_cannot_be_forged(
    admin: Door, facade: Door, account: Tenant, kube: pykube.HTTPClient, annotation: str
) -> None:
    expected = f"only the facade may set, change or remove the annotation {annotation}"
    for value in ("2001-01-01T00:00:00.000Z", ""):
        body = {"apiVersion": VERSION, **copy.deepcopy(GOOD["browsersessions"])}
        body["metadata"]["annotations"] = {annotation: value}
        assert expected in admin.create("browsersessions", body, account.namespace).message
        assert facade.create("browsersessions", body, account.namespace).status == 201

    made = account.create()
    name = session_name(kube, account, made["id"])
    for change in ("2001-01-01T00:00:00.000Z", None):
        patch = {"metadata": {"annotations": {annotation: change}}}
        answer = admin.patch(f"browsersessions/{name}", patch, account.namespace)
        assert answer.status == 403
        assert expected in answer.message
    harmless = {"metadata": {"annotations": {"example.test/note": "mine"}}}
    assert admin.patch(f"browsersessions/{name}", harmless, account.namespace).status == 200


def session_name(kube: pykube.HTTPClient, account: Tenant, session: str) -> str:
    """Return the object name of a session that REST made."""
    listed = kube.get(version=VERSION, namespace=account.namespace, url="browsersessions").json()["items"]
    return next(str(item["metadata"]["name"]) for item in listed if f"ses_{item['metadata']['uid']}" == session)


def test_spec_cannot_change(admin: Door, account: Tenant, kube: pykube.HTTPClient) -> None:
    apply_session(kube, account.namespace, "fixed", label="first", metadata={"a": 1})
    changes: list[Body] = [
        {"label": "second"},
        {"label": None},
        {"label": None, "maxDurationSeconds": 60},
        {"idleTimeoutSeconds": 5},
        {"metadata": {"a": 2}},
        {"metadata": {"a": None, "b": 1}},
        {"metadata": None},
        {"metadata": None, "archetype": "default"},
    ]
    for change in changes:
        answer = admin.patch("browsersessions/fixed", {"spec": change}, account.namespace)
        assert answer.status == 422, f"{change} was accepted"
        assert "a session's spec can't change: delete it and create another" in answer.message
    same = admin.patch("browsersessions/fixed", {"spec": {"label": "first"}}, account.namespace)
    assert same.status == 200, same.message


def test_metadata_are_bounded(admin: Door, facade: Door, account: Tenant) -> None:
    def create(metadata: Body, door: Door = admin) -> Answer:
        body = {"apiVersion": VERSION, **copy.deepcopy(GOOD["browsersessions"])}
        body["spec"]["metadata"] = metadata
        return door.create("browsersessions", body, account.namespace)

    deep: Body = {"n": [1] * 1000, "text": "\u00fc" * 10_000, "in": {"this": [None, True, 0.5]}}
    assert create(deep).status == 201
    assert create({"text": "x" * 32_700}).status == 201
    for large in ({"text": "x" * 32_800}, {"in": [{"this": "x" * 1000}] * 33}, {"x" * 32_800: 1}):
        answer = create(large)
        assert answer.status == 413, answer.message
        assert "a session's metadata may have at most 32,768 characters" in answer.message
    fractions: Body = {"x": [0.5] * 4000}  # 16 KiB as JSON, and more as CEL writes them
    assert create(fractions).status == 413
    assert create(fractions, facade).status == 201


def test_only_the_operator_drops_the_finalizer(
    admin: Door, facade: Door, operator: Door, account: Tenant, kube: pykube.HTTPClient
) -> None:
    apply_session(kube, account.namespace, "held")
    drop: Body = {"metadata": {"finalizers": None}}
    assert operator.patch("browsersessions/held", drop, account.namespace).status == 200
    answer = admin.patch("browsersessions/held", drop, account.namespace)
    assert answer.status == 403
    assert "only the operator may drop the finalizer" in answer.message
    more = {"metadata": {"finalizers": ["example.test/mine", FINALIZER]}}
    assert admin.patch("browsersessions/held", more, account.namespace).status == 200
    # The facade has no right to change sessions at all.
    assert facade.patch("browsersessions/held", drop, account.namespace).status == 403


def test_status_is_written_by_driftstack_alone(
    admin: Door, facade: Door, operator: Door, account: Tenant, kube: pykube.HTTPClient
) -> None:
    apply_session(kube, account.namespace, "state")
    found = wait_ready(kube, account.namespace, "state")

    def write(door: Door, **status: Any) -> Answer:
        return door.patch("browsersessions/state/status", {"status": status}, account.namespace)

    assert "the status of a session is written by Driftstack alone" in write(admin, phase="busy").message
    step = found.status.get("step", 0)
    moment = "2026-01-01T00:00:00.000Z"
    assert write(facade, phase="busy", step=step + 1, lastTransitionTime=moment).status == 200
    assert "turn ready into busy and back" in write(facade, phase="errored").message
    assert write(facade, phase="destroyed").status == 403
    assert write(facade, step=-1).status in (403, 422)
    forged: list[Body] = [
        {"reason": "Forged"},
        {"browser": {"address": "10.0.0.1:1"}},
        {"archetype": "other"},
        {"stages": None},
    ]
    for other in forged:
        answer = write(facade, phase="busy", step=step + 1, **other)
        assert answer.status == 403, f"{other} was accepted"
        assert "nothing else of its status" in answer.message
    assert write(operator, phase="errored", reason="NodeLost").status == 200


def test_records_are_written_by_the_operator_alone(admin: Door, operator: Door, account: Tenant) -> None:
    def record(**spec: Any) -> Body:
        good = {
            "sessionName": "x",
            "sessionUid": ZEROS,
            "phase": "destroyed",
            "reason": "Deleted",
            "archetype": "default",
            "apiKeyId": f"key_{ZEROS}",
            "createdAt": "2026-01-01T00:00:00.000Z",
            "endedAt": "2026-01-01T00:00:01.000Z",
            "durationMilliseconds": 1000,
        }
        body = {"apiVersion": VERSION, "kind": "SessionRecord", "metadata": {"name": ZEROS}}
        return {**body, "spec": {**good, **spec}}

    answer = admin.create("sessionrecords", record(), account.namespace)
    assert answer.status == 403
    assert "only the operator writes SessionRecords" in answer.message
    accepted = operator.create("sessionrecords", record(), account.namespace)
    assert accepted.status == 201, accepted.message
    other = operator.create("sessionrecords", record(sessionUid=ZEROS.replace("0", "1")), account.namespace)
    assert "the name of a record is the uid of its session" in other.message


def test_keys_cannot_become_others(admin: Door, account: Tenant) -> None:
    def change(**spec: Any) -> Answer:
        return admin.patch("apikeys/e2e", {"spec": spec}, account.namespace)

    assert "a key can't become another" in change(sha256="1" * 64).message
    assert change(revoked=True, name="renamed").status == 200


def test_a_revoked_key_stays_revoked(admin: Door, account: Tenant, kube: pykube.HTTPClient) -> None:
    body = {"apiVersion": VERSION, **copy.deepcopy(GOOD["apikeys"])}
    body["spec"]["revoked"] = True
    created = kube.post(version=VERSION, namespace=account.namespace, url="apikeys", json=body)
    assert created.status_code == 201, created.text
    answer = admin.patch("apikeys/good", {"spec": {"revoked": False}}, account.namespace)
    assert "a revoked key stays revoked" in answer.message


def test_pools_can_be_scaled(admin: Door) -> None:
    answer = admin.patch("browserpools/default/scale", {"spec": {"replicas": 3}}, BROWSERS)
    assert (answer.status, answer.body["spec"]) == (200, {"replicas": 3})


EXAMPLES: Final = sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_accepted(admin: Door, account: Tenant, path: Path) -> None:
    for body in yaml.safe_load_all(path.read_text()):
        namespace = body["metadata"].pop("namespace", None)
        plural = f"{body['kind'].lower()}s"
        answer = admin.create(plural, body, account.namespace if namespace == "acct-acme" else namespace)
        assert answer.status == 201, answer.message
