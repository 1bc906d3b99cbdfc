"""One slow thing stops nothing: silent agents, a slow API server, a full disk, very many ends at once."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

import pykube
import pytest

from tests.e2e.chaos.machine import Machine
from tests.e2e.chaos.report import Report
from tests.e2e.chaos.slow import (
    create_many,
    delete_all,
    figures,
    full_disk,
    hesitating,
    no_room,
    pods_of,
    stop_when_it_appears,
    stopped,
    times_to_ready,
)
from tests.e2e.chaos.watching import liveness_kills, uid_of, works
from tests.e2e.conftest import Tenant
from tests.e2e.objects import (
    SessionRecord,
    apply_session,
    browser_pod,
    eventually,
    phase,
    record_of,
    wait_ready,
)

pytestmark = pytest.mark.timeout(600)


def test_silent_agents(
    machine: Machine, kube: pykube.HTTPClient, account_of: Callable[..., Tenant], report: Report, long: bool
) -> None:
    """Some are stopped with their session ready, some before they were claimed; others start as fast as before."""
    account, other = account_of(), account_of()
    rounds = 20 if long else 3
    before = times_to_ready(other, rounds)
    ready = [uid_of(account.create()["id"]) for _ in range(3)]
    young = [apply_session(kube, account.namespace, f"young-{n}").uid for n in range(3)]
    unborn = [stop_when_it_appears(machine, kube, uid) for uid in young]
    pods = [browser_pod(kube, uid) for uid in ready]
    with stopped(machine, [*unborn, *(pod.metadata["uid"] for pod in pods if pod is not None)]):
        meanwhile = times_to_ready(other, rounds)
    report.add(f"agents of six sessions silent: others ready in {figures(meanwhile)}, before {figures(before)}")
    assert statistics.median(meanwhile) < 2 * statistics.median(before) + 1.0  # machines of tests have moods
    for uid in ready:
        assert account.get(f"ses_{uid}")["status"] == "ready"
    for number, uid in enumerate(young):  # awake again, they are claimed and serve
        wait_ready(kube, account.namespace, f"young-{number}", seconds=60)
        assert account.api.delete(f"/v1/sessions/ses_{uid}").status_code == 204


def test_api_server_answers_late(
    machine: Machine, kube: pykube.HTTPClient, account: Tenant, report: Report, long: bool
) -> None:
    """Everything is late by seconds: nothing ends that shouldn't, and what began becomes ready."""
    living = account.create()["id"]
    kills = liveness_kills(kube)
    made = apply_session(kube, account.namespace, "patient")
    with hesitating(machine, "kube-apiserver", 4.7, 0.3):
        time.sleep(60 if long else 15)
    begun = time.monotonic()
    eventually(lambda: phase(kube, account.namespace, "patient") == "ready", 60, "the session is ready")
    report.add("API server answers in five seconds", time.monotonic() - begun)
    assert account.get(living)["status"] == "ready"
    assert account.api.delete(f"/v1/sessions/ses_{made.uid}").status_code == 204
    works(account)
    assert liveness_kills(kube) == kills


def test_full_disk(machine: Machine, kube: pykube.HTTPClient, account: Tenant, report: Report, long: bool) -> None:
    """No container can start as the node can't make its logs; those that run go on, and room is used at once.

    The disk of the machine itself is everybody's: what is full is the node's folder of logs.
    """
    living = account.create()["id"]
    logs = machine.layout.control.state / "pod-logs"
    apply_session(kube, account.namespace, "started")
    wait_ready(kube, account.namespace, "started")
    with full_disk(logs):
        waits = apply_session(kube, account.namespace, "wants-room")
        step = account.api.post(f"/v1/sessions/{living}/navigate", json={"url": "about:blank"})
        assert step.status_code == 200, step.text
        if long:
            ended = record_of(kube, account.namespace, waits.uid, seconds=70).spec
            assert ended["phase"] == "errored"
        else:
            eventually(lambda: browser_pod(kube, waits.uid), 20, "its pod is made")
            time.sleep(3)
            assert phase(kube, account.namespace, "wants-room") == "creating"
    begun = time.monotonic()
    if not long:
        wait_ready(kube, account.namespace, "wants-room", seconds=60)
    works(account)
    report.add("disk full on the node", time.monotonic() - begun)
    assert account.get(living)["status"] == "ready"
    assert phase(kube, account.namespace, "started") == "ready"


@pytest.mark.parametrize("how", ["deleted", "errored"])
def test_many_ends_at_once(
    kube: pykube.HTTPClient, account_of: Callable[..., Tenant], report: Report, long: bool, how: str
) -> None:
    """Every one has its record and no pod is left; sessions of others start meanwhile as if nothing were."""
    if how == "errored" and not long:
        pytest.skip("half a minute of waiting for the end is in `make chaos`")
    count = 500 if long else 150
    many, other = account_of(tier="enterprise", overrides={"concurrentSessions": count}), account_of()
    before = times_to_ready(other, 3)
    with no_room(kube):
        uids = create_many(kube, many.namespace, count)
        eventually(lambda: len(pods_of(kube, uids)) == count, 120, "every session has its pod")
    meanwhile: list[float] = []
    creator = threading.Thread(target=lambda: meanwhile.extend(times_to_ready(other, 3)))
    begun = time.monotonic()
    if how == "deleted":
        delete_all(kube, many.namespace)
    else:
        eventually(lambda: _records(kube, many) > 0, 60, "the first has waited for long enough")
        begun = time.monotonic()
    creator.start()
    eventually(lambda: _records(kube, many) == count, 180, "every session has its record")
    eventually(lambda: not pods_of(kube, uids), 120, "no pod is left")
    took = time.monotonic() - begun
    creator.join()
    lost = count - _records(kube, many)
    report.add(f"{count} sessions {how} at once: others ready in {figures(meanwhile)}", took, lost=lost)
    assert lost == 0
    # The machine itself is busy with so many deletions; what the operator adds is some hundredths of a second.
    assert statistics.median(meanwhile) < 2 * statistics.median(before) + 4.0


def _records(kube: pykube.HTTPClient, tenant: Tenant) -> int:
    return len(list(SessionRecord.objects(kube, namespace=tenant.namespace)))
