"""The operator's eyes: watches that go silent, an API server that hangs or is away, versions that expire.

Each time something happens while the operator can't see it, and the time is taken from the end of the fault until
the operator has acted on it.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator

import pykube
import pytest

from driftstack_common.names import SESSION_QUOTA
from tests.e2e.chaos.machine import Machine
from tests.e2e.chaos.report import Report
from tests.e2e.chaos.watching import (
    connections,
    cut_off,
    end_seen,
    kill_pod,
    liveness_kills,
    operators,
    readiness,
    settled,
    silenced,
    take_pod,
    tolerant,
    uid_of,
    works,
)
from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import Account, browser_pod, eventually, record_of

pytestmark = pytest.mark.timeout(600)

SOON = 10.0
"""Seconds within which the operator must be right again; it aims at 5."""


@pytest.fixture(autouse=True)
def sound(machine: Machine, kube: pykube.HTTPClient) -> Iterator[None]:
    """Begin and end with operators that are ready, none of which was restarted by its liveness probe."""
    settled(kube)
    before = liveness_kills(kube)
    yield
    machine.repair()
    settled(kube)
    assert liveness_kills(kube) == before


def test_every_packet_dropped(
    machine: Machine,
    installation: Installation,
    kube: pykube.HTTPClient,
    account: Tenant,
    report: Report,
    long: bool,
) -> None:
    other = account.create()["id"]
    for seconds in (8, 60) if long else (8,):
        victim = account.create()["id"]
        pods = operators(kube)
        with cut_off(machine, pods):
            take_pod(installation, kube, victim)
            begun = time.monotonic()
            # Nobody but the operator itself can tell how old its picture is: it must say so.
            eventually(lambda p=pods: any(readiness(machine, pod).get("stale") for pod in p), 20, "it says so")
            time.sleep(max(0.0, begun + seconds - time.monotonic()))
        took = end_seen(kube, account, victim, time.monotonic())
        report.add("operator cut off from the API server, packets dropped", took)
        assert took < SOON
    assert account.get(other)["status"] == "ready"
    works(account)


def test_present_connections_silent(
    machine: Machine, installation: Installation, kube: pykube.HTTPClient, account: Tenant, report: Report
) -> None:
    """As when a firewall between has lost its table: what is open is dead, what is new works."""
    victim = account.create()["id"]
    with contextlib.ExitStack() as stack:
        for pod in operators(kube):
            for port in connections(machine, pod):
                stack.enter_context(silenced(machine, pod, port))
        take_pod(installation, kube, victim)
        took = end_seen(kube, account, victim, time.monotonic())
    report.add("all present connections of the operator silent", took)
    assert took < SOON
    works(account)


def test_one_connection_silent(
    machine: Machine, kube: pykube.HTTPClient, account: Tenant, report: Report, long: bool
) -> None:
    """Whichever connection it is, a change of the account is seen."""
    for pod in operators(kube):
        for port in connections(machine, pod) if long else connections(machine, pod)[:4]:
            with silenced(machine, pod, port):
                took = _reacts(kube, account, time.monotonic())
                report.add("one connection of the operator silent", took)
                assert took < SOON
    works(account)


def test_api_server_hangs(
    machine: Machine, kube: pykube.HTTPClient, account: Tenant, report: Report, long: bool
) -> None:
    other = account.create()["id"]
    for seconds in (8, 30, 180) if long else (8,):
        victim = account.create()["id"]
        pod = browser_pod(kube, uid_of(victim))
        assert pod is not None
        with machine.frozen("kube-apiserver"):
            kill_pod(machine, pod)
            time.sleep(seconds)
        _recovers(kube, account, victim, other, report, f"API server hung for {seconds} s")


def test_api_server_away(
    machine: Machine, kube: pykube.HTTPClient, account: Tenant, report: Report, long: bool
) -> None:
    """Killed and started again: connections are refused meanwhile, and afterwards every version has expired."""
    if not long:
        pytest.skip("the test of missed deletions kills it as well; the outages of minutes are in `make chaos`")
    other = account.create()["id"]
    for seconds in (5, 30, 180):
        victim = account.create()["id"]
        pod = browser_pod(kube, uid_of(victim))
        assert pod is not None
        machine.signal("kube-apiserver", signal.SIGKILL)
        kill_pod(machine, pod)
        time.sleep(seconds)
        machine.repair()
        _recovers(kube, account, victim, other, report, f"API server killed and away for {seconds} s")


def test_deletion_missed_and_version_expired(
    machine: Machine, installation: Installation, kube: pykube.HTTPClient, account: Tenant, report: Report
) -> None:
    """What was deleted before kopf had to list anew is in no event and in no list of it."""
    victim, other = account.create()["id"], account.create()["id"]
    pods = operators(kube)
    with cut_off(machine, pods):
        take_pod(installation, kube, victim)
        machine.signal("kube-apiserver", signal.SIGKILL)
        machine.repair()
    took = end_seen(kube, account, victim, time.monotonic())
    report.add("pod deleted unseen, then 410 Gone", took)
    assert took < SOON
    assert account.get(other)["status"] == "ready"
    works(account)


def test_etcd(machine: Machine, kube: pykube.HTTPClient, account: Tenant, report: Report, long: bool) -> None:
    other = account.create()["id"]
    machine.signal("etcd", signal.SIGKILL)
    machine.repair()
    _recovers(kube, account, None, other, report, "etcd killed")
    for seconds in (6, 30) if long else ():
        victim = account.create()["id"]
        pod = browser_pod(kube, uid_of(victim))
        assert pod is not None
        with machine.frozen("etcd"):
            kill_pod(machine, pod)
            time.sleep(seconds)
        _recovers(kube, account, victim, other, report, f"etcd hung for {seconds} s")


def _recovers(
    kube: pykube.HTTPClient, tenant: Tenant, victim: str | None, other: str, report: Report, fault: str
) -> None:
    """The operator acts on a change soon; the session whose pod died meanwhile has its end, the other lives."""
    took = _reacts(kube, tenant, time.monotonic())
    report.add(fault, took)
    assert took < SOON
    if victim is not None:
        record_of(kube, tenant.namespace, uid_of(victim), seconds=60)  # the kubelet reports when it likes
    works(tenant)
    assert tenant.get(other)["status"] == "ready"


def _reacts(kube: pykube.HTTPClient, tenant: Tenant, since: float) -> float:
    """Change an account as soon as that is possible again; return the seconds until the operator has acted."""
    cap = 8 + 9 - eventually(tolerant(lambda: _hard(kube, tenant)), 60, "the API server answers")
    eventually(tolerant(lambda: _set_cap(kube, tenant, cap)), 60, "the API server takes a change")
    eventually(tolerant(lambda: _hard(kube, tenant) == cap), 60, f"the quota says {cap}")
    return time.monotonic() - since


def _set_cap(kube: pykube.HTTPClient, tenant: Tenant, cap: int) -> bool:
    account = Account.objects(kube).get(name=tenant.name)
    account.patch({"spec": {"overrides": {"concurrentSessions": cap}}})
    return True


def _hard(kube: pykube.HTTPClient, tenant: Tenant) -> int:
    (quota,) = pykube.ResourceQuota.objects(kube, namespace=tenant.namespace)
    return int(quota.obj["spec"]["hard"][SESSION_QUOTA])
