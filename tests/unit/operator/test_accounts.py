"""Accounts get a namespace and a quota, and lose them in order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from driftstack_common.kinds import Account, Session, WebhookDelivery
from driftstack_common.kube.client import NAMESPACE as NAMESPACES
from driftstack_common.kube.client import QUOTA
from driftstack_common.kube.errors import KindGone
from driftstack_common.names import (
    ACCOUNT_FINALIZER,
    ARCHETYPE_QUOTA,
    KEY_QUOTA,
    QUOTA_NAME,
    SESSION_QUOTA,
    WEBHOOK_QUOTA,
)
from driftstack_common.times import format_time, now
from driftstack_operator.accounts import reconcile
from driftstack_operator.accounts.quota import SHAKEN
from driftstack_operator.settings import load_settings
from tests.unit.operator.builders import ACCOUNT, CREATED, NAMESPACE, UID, Body
from tests.unit.operator.rig import Rig


@pytest.fixture
async def rig() -> Rig:
    rig = Rig()
    await rig.prime()
    await rig.settle()
    return rig


def account(rig: Rig, name: str = ACCOUNT) -> Body:
    return rig.kube.objects[(Account.KIND.plural, "", name)]


def quota(rig: Rig, namespace: str = NAMESPACE) -> Body:
    return rig.kube.objects[(QUOTA.plural, namespace, QUOTA_NAME)]


def ready(rig: Rig, name: str = ACCOUNT) -> tuple[str, str]:
    condition = account(rig, name)["status"]["conditions"][0]
    return condition["status"], condition["reason"]


def new_account(rig: Rig, name: str = "new", **spec: Any) -> None:
    rig.kube.put(Account.KIND, {"metadata": {"name": name}, "spec": spec})


async def test_new_account_is_made_ready(rig: Rig) -> None:
    new_account(rig, tier="api_builder")
    await rig.settle()
    namespace = rig.kube.objects[(NAMESPACES.plural, "", "acct-new")]
    assert namespace["metadata"]["labels"] == {
        "driftstack.dev/account": "new",
        "app.kubernetes.io/part-of": "driftstack",
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/audit": "restricted",
        "pod-security.kubernetes.io/warn": "restricted",
    }
    assert quota(rig, "acct-new")["spec"]["hard"][SESSION_QUOTA] == "8"
    meta = account(rig, "new")["metadata"]
    assert meta["finalizers"] == [ACCOUNT_FINALIZER]
    assert meta["annotations"] == {"driftstack.dev/id": f"acc_{meta['uid']}"}
    assert ready(rig, "new") == ("True", "QuotaInForce")
    assert account(rig, "new")["status"]["limit"] == 8


async def test_ready_account_is_not_written_again(rig: Rig) -> None:
    rig.kube.calls.clear()
    rig.operator.touch_account(ACCOUNT)
    await rig.settle()
    assert rig.kube.calls == []


def wait(rig: Rig, seconds: float) -> None:
    """Let so much time pass for all that waits."""
    accounts = rig.operator.accounts
    for wrong in accounts.quotas._wrong.values():
        wrong.due -= seconds
    accounts.live._since = {name: since - seconds for name, since in accounts.live._since.items()}
    accounts.patience._since = {name: since - seconds for name, since in accounts.patience._since.items()}


async def test_not_ready_while_sessions_are_not_counted(rig: Rig) -> None:
    rig.kube.change(QUOTA, NAMESPACE, QUOTA_NAME, used={})
    await rig.settle()
    assert ready(rig) == ("True", "QuotaInForce"), "a cap that changes needs a moment"
    wait(rig, 3)
    rig.operator.touch_limits(ACCOUNT)
    await rig.settle()
    assert ready(rig) == ("False", "QuotaNotInForce")


async def test_quota_that_never_counts_is_asked_ever_more_seldom(rig: Rig) -> None:
    rig.kube.change(QUOTA, NAMESPACE, QUOTA_NAME, used={})
    delays = []
    for _ in range(7):
        await rig.settle()
        wait(rig, 60)
        delays.append(await rig.operator.accounts.check(ACCOUNT))
    assert [round(delay or 0) for delay in delays] == [4, 8, 16, 30, 30, 30, 30]
    (condition,) = account(rig)["status"]["conditions"]
    assert "kube-controller-manager" in condition["message"]


async def test_quota_that_is_wrong_for_days_is_still_asked_as_seldom(rig: Rig) -> None:
    rig.kube.change(QUOTA, NAMESPACE, QUOTA_NAME, used={})
    await rig.settle()
    rig.operator.accounts.quotas._wrong[ACCOUNT].shakes = 3000
    wait(rig, 60)
    assert await rig.operator.accounts.check(ACCOUNT) == pytest.approx(30, abs=1)


async def test_cap_follows_the_account(rig: Rig) -> None:
    body = account(rig)
    body["spec"]["overrides"]["concurrentSessions"] = 3
    body["metadata"]["generation"] = 2
    rig.kube.change(Account.KIND, None, ACCOUNT)
    await rig.settle()
    assert quota(rig)["spec"]["hard"][SESSION_QUOTA] == "3"


def obey(rig: Rig) -> None:
    """The quota controller puts the quota's spec in force."""
    hard = quota(rig)["spec"]["hard"]
    live = len(rig.kube.all(Session.KIND))
    rig.kube.change(QUOTA, NAMESPACE, QUOTA_NAME, hard=hard, used={SESSION_QUOTA: str(live)})


async def test_suspended_account_keeps_its_sessions_and_may_have_no_more(rig: Rig) -> None:
    await rig.ready()
    account(rig)["spec"]["suspended"] = True
    rig.kube.change(Account.KIND, None, ACCOUNT)
    await rig.settle()
    assert quota(rig)["spec"]["hard"][SESSION_QUOTA] == "0"
    obey(rig)
    await rig.settle()
    assert ready(rig) == ("True", "Suspended")
    session = rig.session()
    assert session is not None
    assert session["status"]["phase"] == "ready"
    assert (account(rig)["status"]["live"], account(rig)["status"]["limit"]) == (1, 0)


async def test_overrides_expire_by_themselves(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 5, 12, 12, tzinfo=UTC)
    monkeypatch.setattr(reconcile, "now", lambda: moment)
    body = account(rig)
    body["spec"]["overrides"] = {"concurrentSessions": 40, "expiresAt": "2026-05-12T12:05:00Z"}
    rig.kube.change(Account.KIND, None, ACCOUNT)
    await rig.settle()
    assert quota(rig)["spec"]["hard"][SESSION_QUOTA] == "40"
    obey(rig)
    await rig.settle()
    assert await rig.operator.accounts.check(ACCOUNT) == 300, "when it is due"
    moment += timedelta(seconds=300)
    assert await rig.operator.accounts.check(ACCOUNT) != 300
    assert quota(rig)["spec"]["hard"][SESSION_QUOTA] == "32", "the cap of the tier"


async def test_live_sessions_are_told_a_second_later_and_once(rig: Rig) -> None:
    assert account(rig)["status"]["live"] == 0
    rig.kube.calls.clear()
    for number in range(5):
        rig.create(f"s{number}", f"{number}{UID[1:]}")
        obey(rig)
        await rig.settle()
    assert rig.writes(Account.KIND) == []
    assert account(rig)["status"]["live"] == 0
    assert await rig.operator.accounts.check(ACCOUNT) == pytest.approx(1, abs=0.5)
    wait(rig, 1)
    rig.operator.touch_limits(ACCOUNT)
    await rig.settle()
    assert account(rig)["status"]["live"] == 5
    assert rig.writes(Account.KIND) == [("patch", "accounts")]


async def test_session_that_is_gone_within_the_second_costs_no_write(rig: Rig) -> None:
    rig.create()
    obey(rig)
    await rig.settle()
    rig.kube.calls.clear()
    session = rig.session()
    assert session is not None
    session["metadata"]["finalizers"].clear()
    rig.kube.vanish(Session.KIND, NAMESPACE, "one")
    obey(rig)
    wait(rig, 1)
    await rig.settle()
    assert rig.writes(Account.KIND) == []


async def test_number_of_live_sessions_is_right_after_a_restart(rig: Rig) -> None:
    await rig.ready()
    await rig.restart()
    await rig.settle()
    wait(rig, 1)
    rig.operator.touch_limits(ACCOUNT)
    await rig.settle()
    assert account(rig)["status"]["live"] == 1


@pytest.mark.parametrize(
    "meta", [{"creationTimestamp": "2026-06-01T00:00:00Z"}, {"creationTimestamp": CREATED, "uid": "0"}]
)
async def test_copy_of_an_account_is_refused_until_the_elder_is_gone(rig: Rig, meta: Body) -> None:
    annotations = account(rig)["metadata"]["annotations"]
    copy = {"name": "copy", "annotations": annotations, **meta}
    rig.kube.put(Account.KIND, {"metadata": copy, "spec": {}})
    await rig.settle()
    assert ready(rig, "copy") == ("False", "IdTaken")
    (condition,) = account(rig, "copy")["status"]["conditions"]
    assert condition["message"].startswith(f"account {ACCOUNT} has the id acc_")
    assert (NAMESPACES.plural, "", "acct-copy") not in rig.kube.objects
    assert ready(rig) == ("True", "QuotaInForce")
    await rig.kube.delete(Account.KIND, None, ACCOUNT)
    for _ in range(4):
        await rig.settle()
        rig.operator.touch_account(ACCOUNT)
    assert ready(rig, "copy") == ("True", "QuotaInForce")


async def test_restored_account_keeps_its_id(rig: Rig) -> None:
    own = "acc_9d2f0c1e-5b7a-4f0e-8a3d-2c6b1e4f7a90"
    rig.kube.put(Account.KIND, {"metadata": {"name": "new", "annotations": {"driftstack.dev/id": own}}, "spec": {}})
    await rig.settle()
    assert account(rig, "new")["metadata"]["annotations"] == {"driftstack.dev/id": own}
    assert ready(rig, "new") == ("True", "QuotaInForce")


async def test_quota_bounds_what_members_can_make(rig: Rig) -> None:
    hard = quota(rig)["spec"]["hard"]
    assert (hard[KEY_QUOTA], hard[ARCHETYPE_QUOTA], hard[WEBHOOK_QUOTA]) == ("1000", "200", "100")


async def test_quota_of_an_older_version_gets_its_bounds_and_others_entries_cost_no_writes(rig: Rig) -> None:
    del quota(rig)["spec"]["hard"][KEY_QUOTA]
    quota(rig)["spec"]["hard"]["pods"] = "0"
    rig.kube.change(QUOTA, NAMESPACE, QUOTA_NAME)
    await rig.settle()
    assert quota(rig)["spec"]["hard"][KEY_QUOTA] == "1000"
    before = len(rig.writes(QUOTA))
    rig.operator.touch_limits(ACCOUNT)
    await rig.settle()
    assert len(rig.writes(QUOTA)) == before


def test_a_bound_of_nothing_is_none() -> None:
    settings = load_settings(api_keys_per_account=0, archetypes_per_account=7, webhook_endpoints_per_account=0)
    assert settings.object_quotas == {ARCHETYPE_QUOTA: 7}


@pytest.mark.parametrize("used", ["5", "0"])
async def test_miscounting_quota_is_shaken_after_a_while_and_only_then(rig: Rig, used: str) -> None:
    before = quota(rig)["spec"]["hard"]
    rig.create()
    rig.kube.change(QUOTA, NAMESPACE, QUOTA_NAME, used={SESSION_QUOTA: used})
    await rig.settle()
    assert quota(rig)["spec"]["hard"] == before
    wait(rig, 3)
    rig.operator.touch_limits(ACCOUNT)
    await rig.settle()
    after = quota(rig)["spec"]["hard"]
    assert after[SHAKEN] != before[SHAKEN]
    assert after[SESSION_QUOTA] == before[SESSION_QUOTA]


async def test_charge_that_was_right_again_is_forgotten(rig: Rig) -> None:
    rig.kube.change(QUOTA, NAMESPACE, QUOTA_NAME, used={SESSION_QUOTA: "5"})
    await rig.settle()
    rig.kube.change(QUOTA, NAMESPACE, QUOTA_NAME, used={SESSION_QUOTA: "0"})
    await rig.settle()
    wait(rig, 3)
    rig.operator.touch_limits(ACCOUNT)
    rig.kube.calls.clear()
    await rig.settle()
    assert rig.kube.calls == []


async def test_count_that_stays_wrong_is_told(rig: Rig) -> None:
    rig.kube.change(QUOTA, NAMESPACE, QUOTA_NAME, used={SESSION_QUOTA: "5"})
    for _ in range(4):
        await rig.settle()
        wait(rig, 60)
        rig.operator.touch_limits(ACCOUNT)
    assert ready(rig) == ("True", "QuotaMiscounted")
    rig.kube.change(QUOTA, NAMESPACE, QUOTA_NAME, used={SESSION_QUOTA: "0"})
    await rig.settle()
    assert ready(rig) == ("True", "QuotaInForce")


async def test_foreign_namespace_is_left_alone(rig: Rig) -> None:
    rig.kube.put(NAMESPACES, {"metadata": {"name": "acct-new", "labels": {"owner": "somebody"}}})
    new_account(rig)
    await rig.settle()
    assert ready(rig, "new") == ("False", "NamespaceTaken")
    (condition,) = rig.kube.objects[Account.KIND.plural, "", "new"]["status"]["conditions"]
    assert "label" not in condition["message"], "the policy driftstack-account-label would refuse that"
    assert (QUOTA.plural, "acct-new", QUOTA_NAME) not in rig.kube.objects
    await rig.kube.delete(Account.KIND, None, "new")
    await rig.settle()
    assert (NAMESPACES.plural, "", "acct-new") in rig.kube.objects
    assert (Account.KIND.plural, "", "new") not in rig.kube.objects


async def test_deleted_account_ends_its_sessions_before_its_namespace_goes(rig: Rig) -> None:
    await rig.ready()
    rig.kube.calls.clear()
    await rig.kube.delete(Account.KIND, None, ACCOUNT)
    for _ in range(4):
        await rig.settle()
        rig.operator.touch_account(ACCOUNT)
    deleted = [(plural, name) for verb, plural, name in rig.kube.calls if verb == "delete"]
    order = [(Session.KIND.plural, "one"), (NAMESPACES.plural, NAMESPACE)]
    assert [call for call in deleted if call in order] == order
    record = rig.record(UID)
    assert record is not None
    assert record["spec"]["reason"] == "Deleted"
    assert (Account.KIND.plural, "", ACCOUNT) not in rig.kube.objects


@pytest.mark.parametrize(
    ("phase", "created_at", "waits"),
    [
        ("pending", "now", True),
        ("in_flight", "now", True),
        ("failed", "now", False),
        ("delivered", "now", False),
        ("pending", "2026-01-01T00:00:00Z", False),
    ],
)
async def test_deleted_account_waits_a_moment_for_its_last_deliveries(
    rig: Rig, phase: str, created_at: str, waits: bool
) -> None:
    stamp = format_time(now()) if created_at == "now" else created_at
    meta = {"name": "last", "namespace": NAMESPACE, "creationTimestamp": stamp}
    rig.kube.put(WebhookDelivery.KIND, {"metadata": meta, "spec": {}, "status": {"phase": phase}})
    await rig.kube.delete(Account.KIND, None, ACCOUNT)
    await rig.settle()
    deleted = ("delete", NAMESPACES.plural, NAMESPACE) in rig.kube.calls
    assert deleted is not waits
    rig.kube.change(WebhookDelivery.KIND, NAMESPACE, "last", phase="delivered")
    rig.operator.touch_account(ACCOUNT)
    await rig.settle()
    assert ("delete", NAMESPACES.plural, NAMESPACE) in rig.kube.calls


async def test_namespace_that_was_deleted_is_made_again(rig: Rig) -> None:
    namespace = rig.kube.objects[(NAMESPACES.plural, "", NAMESPACE)]
    namespace["metadata"]["deletionTimestamp"] = "2026-05-12T13:00:00Z"
    await rig.operator.sweep.touch_all()
    await rig.settle()
    assert ready(rig) == ("False", "NamespaceTerminating")
    rig.kube.vanish(NAMESPACES, None, NAMESPACE)
    rig.kube.vanish(QUOTA, NAMESPACE, QUOTA_NAME)
    rig.operator.touch_account(ACCOUNT)
    await rig.settle()
    assert ready(rig) == ("True", "QuotaInForce")


async def test_what_holds_a_namespace_is_told_and_not_asked_all_the_time(rig: Rig) -> None:
    namespace = rig.kube.objects[(NAMESPACES.plural, "", NAMESPACE)]
    namespace["metadata"]["deletionTimestamp"] = "2026-05-12T13:00:00Z"
    held = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    namespace["status"] = {
        "phase": "Terminating",
        "conditions": [
            {"type": "NamespaceFinalizersRemaining", "status": "True", "message": held},
            {"type": "NamespaceDeletionContentFailure", "status": "False", "message": "all deleted"},
        ],
    }
    delays = []
    for _ in range(3):
        delays.append(await rig.operator.accounts.reconcile(ACCOUNT))
        wait(rig, 60)
    assert [round(delay or 0, 1) for delay in delays] == [0.5, 6.0, 12.0]
    (condition,) = account(rig)["status"]["conditions"]
    assert condition["message"].endswith(f"made anew: {held}")
    assert "all deleted" not in condition["message"]


async def test_session_that_holds_its_deleted_account_is_told(rig: Rig) -> None:
    await rig.ready()
    session = rig.session()
    assert session is not None
    session["metadata"]["finalizers"].append("example.com/hold")
    rig.kube.change(Session.KIND, NAMESPACE, "one")
    await rig.kube.delete(Account.KIND, None, ACCOUNT)
    await rig.settle()
    wait(rig, 60)
    rig.operator.touch_account(ACCOUNT)
    await rig.settle()
    (condition,) = account(rig)["status"]["conditions"]
    assert condition["reason"] == "Deleting"
    assert condition["message"] == "waits for its sessions to go: one (held by the finalizer example.com/hold)"
    assert (NAMESPACES.plural, "", NAMESPACE) in rig.kube.objects
    session["metadata"]["finalizers"].clear()
    rig.kube.vanish(Session.KIND, NAMESPACE, "one")
    for _ in range(3):
        await rig.settle()
        rig.operator.touch_account(ACCOUNT)
    assert (Account.KIND.plural, "", ACCOUNT) not in rig.kube.objects


async def test_account_goes_when_the_kind_of_its_sessions_is_gone(rig: Rig) -> None:
    await rig.kube.delete(Account.KIND, None, ACCOUNT)
    for _ in range(3):
        rig.kube.fail("list", Session.KIND.plural, KindGone("404 page not found", status=404))
        await rig.settle()
        rig.operator.touch_account(ACCOUNT)
    assert (Account.KIND.plural, "", ACCOUNT) not in rig.kube.objects
