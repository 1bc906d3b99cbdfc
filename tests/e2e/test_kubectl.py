"""The kubectl door: sessions as manifests, seen by REST within a second."""

from __future__ import annotations

import json
import re

import pykube

from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import (
    apply_session,
    browser_pod,
    eventually,
    phase,
    record_of,
    session,
    wait_ready,
)


def test_apply_wait_and_delete(installation: Installation, account: Tenant, kube: pykube.HTTPClient) -> None:
    manifest = json.dumps(session(account.namespace, "hello", label="by hand"))
    assert installation.run_kubectl("apply", "-f", "-", stdin=manifest).returncode == 0
    found = wait_ready(kube, account.namespace, "hello")
    shown = account.get(f"ses_{found.uid}")
    assert (shown["status"], shown["label"], shown["archetype"]) == ("ready", "by hand", "default")
    assert shown["api_key_id"] == "key_00000000-0000-0000-0000-000000000000"

    deleted = installation.run_kubectl("delete", "browsersession", "hello", "-n", account.namespace)
    assert deleted.returncode == 0, deleted.stderr
    assert account.get(f"ses_{found.uid}")["status"] == "destroyed"
    assert record_of(kube, account.namespace, found.uid).spec["reason"] == "Deleted"
    eventually(lambda: browser_pod(kube, found.uid) is None, 30, "the pod is gone")


def test_a_manifest_is_one_run(account: Tenant, kube: pykube.HTTPClient) -> None:
    first = apply_session(kube, account.namespace, "again")
    wait_ready(kube, account.namespace, "again").delete()
    eventually(lambda: phase(kube, account.namespace, "again") is None, 15, "the first run ends")
    second = apply_session(kube, account.namespace, "again")
    wait_ready(kube, account.namespace, "again")
    assert first.uid != second.uid
    listed = account.api.get("/v1/sessions").json()["data"]
    assert [(s["id"], s["status"]) for s in listed] == [
        (f"ses_{second.uid}", "ready"),
        (f"ses_{first.uid}", "destroyed"),
    ]


def test_deleted_while_it_starts(account: Tenant, kube: pykube.HTTPClient) -> None:
    started = apply_session(kube, account.namespace, "brief")
    started.delete()
    eventually(lambda: phase(kube, account.namespace, "brief") is None, 15, "the session is gone")
    assert record_of(kube, account.namespace, started.uid).spec["phase"] == "destroyed"
    eventually(lambda: browser_pod(kube, started.uid) is None, 30, "no pod is left")


def test_columns_answer_what_is_wrong(installation: Installation, account: Tenant, kube: pykube.HTTPClient) -> None:
    apply_session(kube, account.namespace, "fine")
    wait_ready(kube, account.namespace, "fine")
    failed = apply_session(kube, account.namespace, "wrong", archetype="no_such_device")
    record_of(kube, account.namespace, failed.uid)
    table = installation.run_kubectl("get", "driftstack", "-n", account.namespace).stdout
    assert re.search(r"NAME +PHASE +REASON +ARCHETYPE +READY-IN +POOL +NODE +AGE", table), table
    assert re.search(r"fine +ready .*default +\d+\.\d+s +miss +\S+", table), table
    assert re.search(r"errored +UnknownArchetype", table), table


def test_account_with_live_sessions_is_deleted(account_of, kube: pykube.HTTPClient) -> None:
    tenant = account_of()
    alive = apply_session(kube, tenant.namespace, "alive")
    wait_ready(kube, tenant.namespace, "alive")
    tenant.api.close()
    from tests.e2e.objects import Account

    Account.objects(kube).get(name=tenant.name).delete()
    gone = pykube.Namespace.objects(kube)
    eventually(lambda: gone.get_or_none(name=tenant.namespace) is None, 60, "the namespace is gone")
    eventually(lambda: browser_pod(kube, alive.uid) is None, 30, "the browser is gone")
