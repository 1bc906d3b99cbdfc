"""Namespaces, accounts and CRDs that go while sessions live in them: nothing hangs, nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pykube
import pytest

from tests.e2e.chaos import removals
from tests.e2e.chaos.machine import Machine
from tests.e2e.chaos.report import Report
from tests.e2e.conftest import ROOT, Installation, Tenant
from tests.e2e.objects import (
    Account,
    BrowserSession,
    apply_session,
    browser_pod,
    eventually,
    record_of,
    session,
    wait_ready,
)

SENSIBLE = {200, 201, 401, 409, 429, 503}
"""What REST may answer while an account goes: 401 once its keys are gone."""
HOLD = "example.com/hold"


def test_namespace_of_an_account(
    installation: Installation, account: Tenant, kube: pykube.HTTPClient, report: Report
) -> None:
    step = removals.populate(kube, installation, account)
    before = removals.uid_of(kube, account.namespace)
    with removals.asking(installation, account) as answers:
        clock = removals.Clock()
        done = installation.run_kubectl("delete", "namespace", account.namespace, "--timeout=60s")
        assert done.returncode == 0, done.stderr
        gone = clock.seconds
        eventually(lambda: not removals.pods_of(kube, account.namespace), 20, "its pods are gone")
        eventually(lambda: removals.uid_of(kube, account.namespace) not in (None, before), 20, "it is made anew")
        eventually(lambda: removals.condition(kube, account.name).get("status") == "True", 20, "Ready again")
        report.add("namespace of an account deleted", clock.seconds)
    step.join(30)
    print(f"\nnamespace gone after {gone:.1f} s; REST answered {dict(answers)}")
    assert gone < 20
    assert set(answers) <= SENSIBLE
    apply_session(kube, account.namespace, "again")
    wait_ready(kube, account.namespace, "again")


@pytest.mark.parametrize("killed", [False, True], ids=["", "operator killed"])
def test_account_with_live_sessions(
    installation: Installation,
    machine: Machine,
    account: Tenant,
    kube: pykube.HTTPClient,
    report: Report,
    killed: bool,
) -> None:
    step = removals.populate(kube, installation, account)
    with removals.asking(installation, account) as answers:
        clock = removals.Clock()
        Account.objects(kube).get(name=account.name).delete()
        if killed:
            removals.kill_operators(machine, kube)
        eventually(lambda: Account.objects(kube).get_or_none(name=account.name) is None, 60, "the account is gone")
        took = clock.seconds
    assert removals.uid_of(kube, account.namespace) is None
    eventually(lambda: not removals.pods_of(kube, account.namespace), 20, "its pods are gone")
    step.join(30)
    report.add("account deleted" + (", operator killed meanwhile" if killed else ""), took)
    print(f"\naccount gone after {took:.1f} s; REST answered {dict(answers)}")
    assert set(answers) <= SENSIBLE
    eventually(lambda: removals.available(kube), 60, "operator and facade run")


def test_what_holds_an_account_is_told(account: Tenant, kube: pykube.HTTPClient, report: Report) -> None:
    held = session(account.namespace, "held")
    held["metadata"]["finalizers"] = [HOLD]
    BrowserSession(kube, held).create()
    wait_ready(kube, account.namespace, "held")
    Account.objects(kube).get(name=account.name).delete()
    clock = removals.Clock()
    eventually(
        lambda: HOLD in removals.condition(kube, account.name).get("message", ""), 20, "the condition names it"
    )
    told = removals.condition(kube, account.name)
    assert told["reason"] == "Deleting"
    assert "held" in told["message"]
    report.add("account held by a foreign finalizer: told", clock.seconds)
    eventually(lambda: not removals.pods_of(kube, account.namespace), 20, "the browser does not wait for it")
    obj = BrowserSession.objects(kube, namespace=account.namespace).get(name="held")
    obj.patch({"metadata": {"finalizers": None}})
    clock = removals.Clock()
    eventually(lambda: Account.objects(kube).get_or_none(name=account.name) is None, 40, "the account is gone")
    report.add("account held by a foreign finalizer: let go", clock.seconds)


@pytest.fixture
def restored(installation: Installation, kube: pykube.HTTPClient) -> Iterator[Callable[[], None]]:
    """Bring the installation back, at the latest after the test."""

    def restore() -> None:
        removals.make_up()
        eventually(lambda: removals.available(kube), 120, "operator and facade run")

    yield restore
    restore()


@pytest.mark.timeout(400)
def test_namespace_of_the_browsers(
    installation: Installation,
    account: Tenant,
    kube: pykube.HTTPClient,
    report: Report,
    long: bool,
    restored: Callable[[], None],
) -> None:
    uid = account.create()["id"].removeprefix("ses_")
    clock = removals.Clock()
    done = installation.run_kubectl("delete", "namespace", "driftstack-browsers", "--timeout=60s")
    assert done.returncode == 0, done.stderr
    record = record_of(kube, account.namespace, uid)
    assert (record.spec["phase"], record.spec["reason"]) == ("errored", "PodDeleted")
    report.add("namespace of the browsers deleted", clock.seconds)
    without = apply_session(kube, account.namespace, "without")
    if long:
        told = record_of(kube, account.namespace, without.uid, seconds=90).spec
        assert (told["reason"], "BrowserPool" in told["message"]) == ("StartTimeout", True)
    ended = account.api.post("/v1/sessions", json={}).json()["id"]
    assert account.api.delete(f"/v1/sessions/{ended}").status_code == 204, "what has no pod can end"
    clock = removals.Clock()
    restored()
    apply_session(kube, account.namespace, "after")
    wait_ready(kube, account.namespace, "after")
    if not long:
        wait_ready(kube, account.namespace, "without")
    report.add("namespace of the browsers restored", clock.seconds)


@pytest.mark.usefixtures("only_long")
@pytest.mark.timeout(400)
def test_all_crds(
    installation: Installation,
    account: Tenant,
    kube: pykube.HTTPClient,
    report: Report,
    restored: Callable[[], None],
) -> None:
    uid = account.create()["id"].removeprefix("ses_")
    _delete_crds(installation, kube, report, "all", uid)
    assert Account.objects(kube).get_or_none(name=account.name) is None
    restored()


@pytest.mark.timeout(400)
def test_crd_of_sessions(
    installation: Installation,
    account: Tenant,
    kube: pykube.HTTPClient,
    report: Report,
    restored: Callable[[], None],
) -> None:
    uid = account.create()["id"].removeprefix("ses_")
    _delete_crds(installation, kube, report, "browsersessions", uid)
    record_of(kube, account.namespace, uid)
    apply_session(kube, account.namespace, "after")
    wait_ready(kube, account.namespace, "after")


def _delete_crds(installation: Installation, kube: pykube.HTTPClient, report: Report, which: str, uid: str) -> None:
    """Delete CRDs under a live session, and bring them back."""
    words = ["-l", "app.kubernetes.io/part-of=driftstack"] if which == "all" else [f"{which}.driftstack.dev"]
    clock = removals.Clock()
    done = installation.run_kubectl("delete", "crd", *words, "--timeout=110s")
    assert done.returncode == 0, done.stderr
    eventually(lambda: browser_pod(kube, uid) is None, 30, "its pod is gone")
    report.add(f"CRDs deleted with a live session: {which}", clock.seconds)
    clock = removals.Clock()
    done = installation.run_kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    assert done.returncode == 0, done.stderr
    eventually(lambda: removals.available(kube), 90, "operator and facade run")
    report.add("CRDs brought back", clock.seconds)
