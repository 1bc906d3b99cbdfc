"""Accounts as an administrator keeps them with kubectl: tiers, overrides, suspension, names, and the end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pykube
import pytest

from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import (
    VERSION,
    Account,
    ApiKey,
    BrowserSession,
    apply_session,
    change_account,
    eventually,
    phase,
    session,
    wait_ready,
)

CAP: Final = "count/browsersessions.driftstack.dev"
SOON: Final = 5.0
"""Seconds within which a change of an account holds everywhere, on a busy machine too."""


def status(kube: pykube.HTTPClient, account: Tenant) -> dict[str, Any]:
    """Return an account's status."""
    return dict(Account.objects(kube).get(name=account.name).obj["status"])


def cap(kube: pykube.HTTPClient, account: Tenant) -> str:
    """Return the cap that the API server enforces."""
    quotas = pykube.ResourceQuota.objects(kube, namespace=account.namespace)
    return str(quotas.get(name="driftstack-sessions").obj["status"]["hard"][CAP])


def condition(kube: pykube.HTTPClient, name: str) -> dict[str, Any] | None:
    """Return an account's condition Ready, None while there is none."""
    conditions = Account.objects(kube).get(name=name).obj.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == "Ready"), None)


# --- tiers, overrides, suspension ---------------------------------------------------------------------------------


def test_lower_tier_ends_no_session_and_a_higher_one_lets_more_in(
    account_of: Callable[..., Tenant], installation: Installation, kube: pykube.HTTPClient
) -> None:
    account = account_of(tier="api_starter")  # two sessions
    live = [account.create()["id"] for _ in range(2)]
    change_account(kube, account.name, tier="free")  # one
    eventually(lambda: cap(kube, account) == "1", SOON, "the lower cap")
    eventually(lambda: status(kube, account)["limit"] == 1, SOON, "the lower cap, told")
    eventually(lambda: status(kube, account)["live"] == 2, SOON, "the live sessions, told")
    assert account.api.post("/v1/sessions", json={}).status_code == 429
    assert [account.get(one)["status"] for one in live] == ["ready"] * 2
    shown = installation.run_kubectl("get", "accounts", account.name).stdout
    assert re.search(r"NAME +TIER +LIVE +LIMIT +READY", shown), shown
    assert re.search(rf"{account.name} +free +2 +1 +True", shown), shown
    change_account(kube, account.name, tier="team_manual")  # three
    eventually(lambda: cap(kube, account) == "3", SOON, "the higher cap")
    assert account.api.post("/v1/sessions", json={}).status_code == 201


def test_overrides_expire_without_anybody(account_of: Callable[..., Tenant], kube: pykube.HTTPClient) -> None:
    account = account_of(tier="free")
    expires_at = datetime.now(UTC) + timedelta(seconds=6)
    overrides = {"concurrentSessions": 5, "expiresAt": expires_at.isoformat()}
    change_account(kube, account.name, overrides=overrides)
    eventually(lambda: cap(kube, account) == "5", SOON, "the cap of the override")
    eventually(lambda: cap(kube, account) == "1", 10, "the cap of the tier")
    assert 0 <= (datetime.now(UTC) - expires_at).total_seconds() < SOON
    eventually(lambda: status(kube, account)["limit"] == 1, SOON, "the cap of the tier, told")


def test_suspended_account_keeps_its_sessions_and_gets_no_new_one(account: Tenant, kube: pykube.HTTPClient) -> None:
    apply_session(kube, account.namespace, "alive")
    wait_ready(kube, account.namespace, "alive")
    change_account(kube, account.name, suspended=True)
    eventually(lambda: cap(kube, account) == "0", SOON, "no slot")
    with pytest.raises(pykube.exceptions.HTTPError, match="exceeded quota"):
        BrowserSession(kube, session(account.namespace, "late")).create()
    eventually(lambda: account.api.get("/v1/whoami").status_code == 403, SOON, "its keys are refused")
    eventually(lambda: (condition(kube, account.name) or {})["reason"] == "Suspended", SOON, "it is told")
    assert phase(kube, account.namespace, "alive") == "ready"
    change_account(kube, account.name, suspended=False)
    eventually(lambda: account.api.post("/v1/sessions", json={}).status_code == 201, SOON, "a session")


def test_live_sessions_are_counted(account: Tenant, kube: pykube.HTTPClient) -> None:
    assert status(kube, account)["live"] == 0
    made = [apply_session(kube, account.namespace, f"s{number}") for number in range(3)]
    eventually(lambda: status(kube, account)["live"] == 3, SOON, "three live sessions")
    for one in made:
        one.delete()
    eventually(lambda: status(kube, account)["live"] == 0, 20, "no live session")


def test_cap_of_zero_is_a_cap(account_of: Callable[..., Tenant], kube: pykube.HTTPClient) -> None:
    account = account_of(overrides={"concurrentSessions": 0})
    with pytest.raises(pykube.exceptions.HTTPError, match="exceeded quota"):
        BrowserSession(kube, session(account.namespace, "none")).create()
    assert account.api.post("/v1/sessions", json={}).status_code == 429


def test_expiry_in_the_past_is_told(account: Tenant, installation: Installation) -> None:
    def patch(expires_at: str) -> str:
        spec = json.dumps({"spec": {"overrides": {"concurrentSessions": 20, "expiresAt": expires_at}}})
        done = installation.run_kubectl("patch", "account", account.name, "--type=merge", "-p", spec)
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert "no override holds, the limits are those of the tier" in patch("2020-01-01T00:00:00Z")
    assert patch((datetime.now(UTC) + timedelta(hours=1)).isoformat()) == ""
    body = {"apiVersion": VERSION, "kind": "Account", "metadata": {"name": "e2e-late"}}
    late = json.dumps({**body, "spec": {"overrides": {"expiresAt": "2020-01-01T00:00:00Z"}}})
    told = installation.run_kubectl("create", "--dry-run=server", "-f", "-", stdin=late)
    assert (told.returncode, "Warning" in told.stderr) == (0, True), told.stderr


# --- names and mistakes -------------------------------------------------------------------------------------------


@pytest.fixture
def scratch(kube: pykube.HTTPClient, leaving: list[str]) -> Iterator[Callable[..., None]]:
    """Make accounts of given names; they go with the test."""
    made: list[Account] = []

    def make(name: str, annotations: dict[str, str] | None = None, **spec: Any) -> None:
        meta = {"name": name, "annotations": annotations or {}}
        account = Account(kube, {"apiVersion": VERSION, "kind": "Account", "metadata": meta, "spec": spec})
        account.create()
        made.append(account)

    yield make
    for account in made:
        account.delete()
        leaving.append(account.name)


def test_any_name_is_an_accounts_own(kube: pykube.HTTPClient, scratch: Callable[..., None]) -> None:
    before = pykube.Namespace.objects(kube).get(name="default").labels
    names = ("default", "system", "kube-system", "n" * 58)
    for name in names:
        scratch(name)
    for name in names:
        eventually(lambda name=name: (condition(kube, name) or {}).get("status") == "True", 30, f"{name} ready")
        labels = pykube.Namespace.objects(kube).get(name=f"acct-{name}").labels
        assert labels["driftstack.dev/account"] == name
    assert pykube.Namespace.objects(kube).get(name="default").labels == before


def test_namespace_of_somebody_else_is_never_adopted(kube: pykube.HTTPClient, scratch: Callable[..., None]) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "acct-e2e-taken"}}
    namespace = pykube.Namespace(kube, body)
    namespace.create()
    try:
        scratch("e2e-taken", members=[{"kind": "User", "name": "alice", "role": "user"}])
        found = eventually(lambda: condition(kube, "e2e-taken"), SOON, "a verdict")
        assert (found["status"], found["reason"]) == ("False", "NamespaceTaken")
        assert "belongs to somebody else: delete it, or choose another name" in found["message"]
        assert not list(pykube.RoleBinding.objects(kube, namespace="acct-e2e-taken"))
        assert not list(pykube.ResourceQuota.objects(kube, namespace="acct-e2e-taken"))
    finally:
        namespace.delete()


def test_copy_of_an_account_is_not_taken_for_it(
    account: Tenant, kube: pykube.HTTPClient, scratch: Callable[..., None]
) -> None:
    annotation, name = "driftstack.dev/id", f"{account.name}-copy"
    scratch(name, {annotation: Account.objects(kube).get(name=account.name).annotations[annotation]})
    found = eventually(lambda: condition(kube, name), SOON, "a verdict on the copy")
    assert (found["status"], found["reason"]) == ("False", "IdTaken")
    assert f"account {account.name} has the id" in found["message"]
    assert pykube.Namespace.objects(kube).get_or_none(name=f"acct-{name}") is None


@pytest.mark.parametrize(
    ("meta", "spec", "expected"),
    [
        ({"name": "a" * 63}, {}, "at most 58 characters"),
        ({"name": "Acme"}, {}, "lowercase RFC 1123 subdomain"),
        ({"name": "acme"}, {"tier": "gold"}, 'supported values: "free", "solo_manual"'),
        ({"name": "acme"}, {"overrides": {"concurrentSessions": -1}}, "should be greater than or equal to 0"),
    ],
)
def test_kubectl_says_what_is_wrong(
    installation: Installation, meta: dict[str, Any], spec: dict[str, Any], expected: str
) -> None:
    body = json.dumps({"apiVersion": VERSION, "kind": "Account", "metadata": meta, "spec": spec})
    done = installation.run_kubectl("create", "--dry-run=server", "-f", "-", stdin=body)
    assert done.returncode != 0
    assert expected in done.stderr


# --- backups, and the end -----------------------------------------------------------------------------------------


def stripped(saved: str) -> str:
    """Do what docs/operations/accounts.md says: without resourceVersion the API server takes it as new."""
    return "".join(line for line in saved.splitlines(keepends=True) if "resourceVersion:" not in line)


def test_restored_account_and_key_have_their_ids(
    account: Tenant, installation: Installation, kube: pykube.HTTPClient
) -> None:
    def kubectl(*words: str, stdin: str | None = None) -> str:
        done = installation.run_kubectl(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def key() -> ApiKey:
        return ApiKey.objects(kube, namespace=account.namespace).get(name="e2e")

    before = account.api.get("/v1/whoami").json()
    eventually(lambda: "driftstack.dev/id" in key().annotations, SOON, "the key's id")
    saved_account = stripped(kubectl("get", "account", account.name, "-o", "yaml"))
    saved_keys = stripped(kubectl("get", "apikeys", "-n", account.namespace, "-o", "yaml"))
    uids = {Account.objects(kube).get(name=account.name).metadata["uid"], key().metadata["uid"]}
    kubectl("delete", "account", account.name)
    kubectl("apply", "-f", "-", stdin=saved_account)
    kubectl("wait", f"account/{account.name}", "--for=condition=Ready", "--timeout=60s")
    kubectl("apply", "-f", "-", stdin=saved_keys)
    assert not uids & {Account.objects(kube).get(name=account.name).metadata["uid"], key().metadata["uid"]}
    eventually(lambda: account.api.get("/v1/whoami").status_code == 200, 10, "the key is known again")
    assert account.api.get("/v1/whoami").json() == before
    shown = account.api.post("/v1/sessions", json={}).json()
    assert (shown["account_id"], shown["api_key_id"]) == (before["account_id"], before["api_key_id"])


def test_revocation_by_kubectl_is_dated(account: Tenant, kube: pykube.HTTPClient) -> None:
    key = ApiKey.objects(kube, namespace=account.namespace).get(name="e2e")
    key.patch({"spec": {"revoked": True}})
    eventually(lambda: key.reload() or "revokedAt" in key.obj["spec"], SOON, "a date")


def test_deleted_account_leaves_nothing_behind(account_of: Callable[..., Tenant], kube: pykube.HTTPClient) -> None:
    account = account_of(members=[{"kind": "User", "name": "alice", "role": "user"}])
    bindings = pykube.RoleBinding.objects(kube, namespace=account.namespace)
    eventually(lambda: list(bindings), SOON, "the binding")
    apply_session(kube, account.namespace, "alive")
    wait_ready(kube, account.namespace, "alive")
    Account.objects(kube).get(name=account.name).delete()
    eventually(lambda: Account.objects(kube).get_or_none(name=account.name) is None, 60, "the account is gone")
    assert pykube.Namespace.objects(kube).get_or_none(name=account.namespace) is None
    for kind in (pykube.RoleBinding, pykube.ResourceQuota, BrowserSession, ApiKey):
        assert not list(kind.objects(kube, namespace=account.namespace)), kind.kind
