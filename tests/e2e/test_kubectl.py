"""The kubectl door: sessions as manifests, seen by REST within a second."""

from __future__ import annotations

import json
import re

import pykube

from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import (
    BrowserSession,
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


def test_rest_drives_and_ends_what_kubectl_made(
    installation: Installation, account: Tenant, kube: pykube.HTTPClient
) -> None:
    apply_session(kube, account.namespace, "both", label="by hand", metadata={"a": [1, None]})
    uid = wait_ready(kube, account.namespace, "both").uid
    path = f"/v1/sessions/ses_{uid}"
    assert account.api.post(f"{path}/navigate", json={"url": installation.page}).status_code == 200
    (listed,) = account.api.get("/v1/sessions").json()["data"]
    assert (listed["id"], listed["label"], listed["metadata"]) == (f"ses_{uid}", "by hand", {"a": [1, None]})
    assert account.api.delete(path).status_code == 204
    gone = installation.run_kubectl("get", "bs", "both", "-n", account.namespace)
    assert 'browsersessions.driftstack.dev "both" not found' in gone.stderr
    assert account.get(f"ses_{uid}")["status"] == "destroyed"


def test_kubectl_tells_the_story_of_what_rest_made(
    installation: Installation, account: Tenant, kube: pykube.HTTPClient
) -> None:
    def say(*words: str) -> str:
        done = installation.run_kubectl(*words, "-n", account.namespace)
        assert done.returncode == 0, done.stderr
        return done.stdout

    uid = account.create(label="by REST")["id"].removeprefix("ses_")
    (found,) = BrowserSession.objects(kube, namespace=account.namespace)
    node = found.status["browser"]["node"]
    table = say("get", "bs")
    assert re.search(r"NAME +PHASE +REASON +ARCHETYPE +READY-IN +POOL +NODE +AGE", table), table
    assert re.search(rf"{found.name} +ready +default +\d+\.\d+s +(hit|miss) +{node} +\d+s", table), table
    assert "by REST" in say("get", "bs", "-o", "wide")
    described = say("describe", "bs", found.name)
    assert re.search(rf"Normal +Ready +\S+ +driftstack-operator +ready after {found.status['readyIn']}", described)
    assert re.search(r"Type: +Sandboxed", described)

    assert account.api.delete(f"/v1/sessions/ses_{uid}").status_code == 204
    record_of(kube, account.namespace, uid)
    assert re.search(rf"{uid} +destroyed +Deleted", say("get", "driftstack"))
    assert re.search(r"Normal +Deleted +\S+ +driftstack-operator", say("describe", "bsr", uid))
    told = say("events", "--for", f"sessionrecord/{uid}")
    assert "Deleted" in told


def test_ways_to_create_wait_and_delete(
    installation: Installation, account: Tenant, kube: pykube.HTTPClient
) -> None:
    def say(*words: str, stdin: str | None = None) -> str:
        done = installation.run_kubectl(*words, "-n", account.namespace, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    manifest = session(account.namespace, "twice", label="x")
    applied = [say("apply", "--server-side", "-f", "-", stdin=json.dumps(manifest)) for _ in range(2)]
    assert applied == ["browsersession.driftstack.dev/twice serverside-applied\n"] * 2
    assert "configured" in say("apply", "-f", "-", stdin=json.dumps(manifest))
    assert "unchanged" in say("apply", "-f", "-", stdin=json.dumps(manifest))
    generated = {**manifest, "metadata": {"generateName": "run-", "namespace": account.namespace}}
    names = [say("create", "-f", "-", "-o", "name", stdin=json.dumps(generated)).strip() for _ in range(2)]
    assert len(set(names)) == 2
    assert all(name.startswith("browsersession.driftstack.dev/run-") for name in names)
    say("wait", "--for=condition=Ready", "--timeout=60s", *names, "browsersession/twice")
    say("wait", "--for=jsonpath={.status.phase}=ready", "--timeout=10s", "bs", "--all")
    assert len(account.api.get("/v1/sessions").json()["data"]) == 3
    assert say("delete", "bs", "--all").count("deleted") == 3
    assert say("get", "bs", "-o", "name") == ""
    ended = account.api.get("/v1/sessions").json()["data"]
    assert [each["status"] for each in ended] == ["destroyed"] * 3


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
    assert re.search(r"fine +ready .*default +\d+\.\d+s +(hit|miss) +\S+", table), table
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
