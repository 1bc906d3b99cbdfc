"""Clocks that are wrong: an operator or a facade that lives in another hour, or week, than the API server.

Sessions start, run and end as ever; no duration is negative; nothing is removed before its time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import httpx2
import pykube
import pytest

from driftstack_common import api_keys
from tests.e2e.chaos.clocks import LIBRARY, age, away, moment, running
from tests.e2e.chaos.leader import holder
from tests.e2e.chaos.machine import Machine
from tests.e2e.chaos.report import Report
from tests.e2e.chaos.watching import settled, take_pod
from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import (
    VERSION,
    ApiKey,
    SessionRecord,
    apply_session,
    eventually,
    record_of,
    wait_ready,
)

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime (`make chaos` installs it)"),
]

HOUR = 3600
WEEK = 8 * 24 * HOUR
PORT = 30990
"""Of the facade whose clock is wrong, on the node."""


def test_operator(
    machine: Machine,
    installation: Installation,
    kube: pykube.HTTPClient,
    account: Tenant,
    report: Report,
    tmp_path: Path,
    long: bool,
) -> None:
    """The sessions of an operator before go on; a week ahead, the retention must not remove what is young."""
    living = account.create()["id"]
    old = account.create()["id"]
    account.api.delete(f"/v1/sessions/{old}")
    with away(kube, "operator"):
        for skew in (WEEK, HOUR, 60 - HOUR) if long else (WEEK,):
            with running(machine, installation, "operator", skew, tmp_path / str(skew), PROBE_PORT="0") as log:
                eventually(lambda log=log: "operator works" in log.read_text(), 30, "the operator works")
                _live(installation, kube, account, f"skew-{abs(skew)}")
            report.add(f"operator's clock {skew:+d} s", 0.0)
        assert account.get(living)["status"] == "ready"
        records = SessionRecord.objects(kube, namespace=account.namespace)
        assert records.get_or_none(name=old.removeprefix("ses_")) is not None


def test_lease(
    machine: Machine,
    installation: Installation,
    kube: pykube.HTTPClient,
    report: Report,
    tmp_path: Path,
    long: bool,
) -> None:
    """A candidate from another hour doesn't take the lease from a leader that renews it."""
    settled(kube)
    # Not one from outside that another test has left to expire.
    leader = eventually(
        lambda: (found := holder(kube)).startswith("driftstack-operator") and found, 20, "one leads"
    )
    for skew in (HOUR, 60 - HOUR) if long else (HOUR,):
        with running(machine, installation, "operator", skew, tmp_path / str(skew), PROBE_PORT="0") as log:
            deadline = time.monotonic() + 6  # twice the lease
            while time.monotonic() < deadline:
                assert holder(kube) == leader
                time.sleep(0.1)
        assert "operator works" not in log.read_text()
        report.add(f"candidate's clock {skew:+d} s", 0.0)


def _live(installation: Installation, kube: pykube.HTTPClient, account: Tenant, name: str) -> None:
    """One session is ended by its user, one by a deleted pod; what both leave makes sense."""
    ended, broken = (apply_session(kube, account.namespace, f"{name}-{how}") for how in ("ended", "broken"))
    for session in (ended, broken):
        status = wait_ready(kube, account.namespace, session.name).status
        assert 0 < float(status["readyIn"].removesuffix("s")) < 30
        stages = [moment(status["stages"][stage]) for stage in ("accepted", "podCreated", "podRunning", "ready")]
        # What the operator knows of the server's clock sharpens with every answer, by less than a second.
        assert all(later - sooner > -timedelta(seconds=1) for sooner, later in pairwise(stages)), stages
        assert -2 < age(status["lastTransitionTime"]) < 30
    assert account.api.delete(f"/v1/sessions/ses_{ended.uid}").status_code == 204
    take_pod(installation, kube, broken.uid)
    for session, reason in ((ended, "Deleted"), (broken, "PodDeleted")):
        spec = record_of(kube, account.namespace, session.uid).spec
        assert spec["reason"] == reason
        assert 0 <= spec["durationMilliseconds"] < 60_000
        assert moment(spec["createdAt"]) <= moment(spec["readyAt"]) <= moment(spec["endedAt"])
        assert -2 < age(spec["endedAt"]) < 30


def test_facade(
    machine: Machine,
    installation: Installation,
    kube: pykube.HTTPClient,
    account: Tenant,
    report: Report,
    tmp_path: Path,
    long: bool,
) -> None:
    """Keys expire, sessions are born and steps run by the API server's clock, whatever the facade's own says."""
    keys = {minutes: _key(kube, account, minutes) for minutes in (30, -30)}
    before = account.create()["id"]
    for skew in (HOUR, 60 - HOUR) if long else (HOUR,):
        with running(machine, installation, "facade", skew, tmp_path / str(skew), PORT=str(PORT)):
            base = f"http://{machine.layout.control.address}:{PORT}"
            client = httpx2.Client(base_url=base, timeout=60, trust_env=False)
            with client:
                eventually(lambda client=client: _is_ready(client), 30, "the facade is ready")
                client.headers["Authorization"] = f"Bearer {keys[-30]}"
                assert client.get("/v1/whoami").status_code == 401
                client.headers["Authorization"] = f"Bearer {keys[30]}"
                _use(kube, account, client, before)
        report.add(f"facade's clock {skew:+d} s", 0.0)
    assert account.get(before)["status"] == "ready"


def _use(kube: pykube.HTTPClient, account: Tenant, client: httpx2.Client, before: str) -> None:
    """A session made, used and ended at the facade with the wrong clock."""
    headers = {"Prefer": "wait=30", "Idempotency-Key": datetime.now(UTC).isoformat()}
    made = client.post("/v1/sessions", json={}, headers=headers)
    assert made.status_code == 201, made.text
    again = client.post("/v1/sessions", json={}, headers=headers)
    assert again.json()["id"] == made.json()["id"]
    session = made.json()["id"]
    assert -2 < age(made.json()["created_at"]) < 60
    eventually(lambda: account.get(session)["status"] == "ready", 30, "the session is ready")
    step = client.post(f"/v1/sessions/{session}/navigate", json={"url": "about:blank"})
    assert step.status_code == 200, step.text
    listed = [item["id"] for item in client.get("/v1/sessions").json()["data"]]
    assert listed.index(session) < listed.index(before)
    assert client.delete(f"/v1/sessions/{session}").status_code == 204
    spec = record_of(kube, account.namespace, session.removeprefix("ses_")).spec
    assert 0 <= spec["durationMilliseconds"] < 60_000
    assert moment(spec["createdAt"]) <= moment(spec["readyAt"]) <= moment(spec["endedAt"])


def _is_ready(client: httpx2.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx2.HTTPError:
        return False


def _key(kube: pykube.HTTPClient, account: Tenant, minutes: int) -> str:
    """Make a key that expires in so many minutes."""
    minted = api_keys.mint()
    expires = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    spec = {"name": "clocks", "scopes": ["account_owner"], "sha256": minted.sha256, "keyPrefix": minted.prefix}
    name = f"expires-{minutes}".replace("--", "-past-")
    metadata = {"name": name, "namespace": account.namespace}
    ApiKey(
        kube,
        {"apiVersion": VERSION, "kind": "ApiKey", "metadata": metadata, "spec": {**spec, "expiresAt": expires}},
    ).create()
    return minted.plaintext
