"""The REST door on a real cluster: a session's life, as plain HTTP sees it."""

from __future__ import annotations

import base64
import io
import json

import pykube
from PIL import Image

from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import BrowserSession, browser_pod, eventually, record_of

FIELDS = {
    "id", "account_id", "api_key_id", "status", "archetype", "purpose", "label", "metadata",
    "created_at", "updated_at", "last_state_at", "destroyed_at",
}  # fmt: skip


def test_life_of_a_session(installation: Installation, account: Tenant, kube: pykube.HTTPClient) -> None:
    answer = account.api.post("/v1/sessions", json={"label": "first", "metadata": {"ticket": "T-1"}})
    assert answer.status_code == 201
    created = answer.json()
    assert set(created) >= FIELDS
    assert created["status"] == "creating"
    assert (created["label"], created["metadata"]) == ("first", {"ticket": "T-1"})

    session = f"/v1/sessions/{created['id']}"
    moved = account.api.post(f"{session}/navigate", json={"url": installation.page})
    assert moved.status_code == 200, moved.text
    assert moved.json()["status"] == 200

    uid = created["id"].removeprefix("ses_")
    assert browser_pod(kube, uid) is not None
    assert account.api.delete(session).status_code == 204
    assert account.get(created["id"])["status"] == "destroyed"
    assert account.api.delete(session).status_code == 204
    record = record_of(kube, account.namespace, uid)
    assert (record.spec["phase"], record.spec["metadata"]) == ("destroyed", {"ticket": "T-1"})
    eventually(lambda: browser_pod(kube, uid) is None, 30, "the pod is gone")


def test_captures_show_the_page(installation: Installation, account: Tenant) -> None:
    session = account.create()["id"]
    account.api.post(f"/v1/sessions/{session}/navigate", json={"url": installation.page}).raise_for_status()
    captured = {}
    for kind in ("screenshot", "pdf", "dom_snapshot"):
        answer = account.api.post(f"/v1/sessions/{session}/capture", json={"kind": kind})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        captured[kind] = base64.b64decode(body["data"])
        assert body["byte_size"] == len(captured[kind])
    picture = Image.open(io.BytesIO(captured["screenshot"]))
    assert picture.format == "PNG"
    assert picture.size == (1280, 800)
    assert len(picture.convert("RGB").getcolors(2**24)) > 50, "a blank page has one colour"
    assert captured["pdf"].startswith(b"%PDF-")
    assert "Harbour Weather" in json.loads(captured["dom_snapshot"])["strings"]


def test_a_page_that_does_not_load_leaves_the_session_ready(account: Tenant) -> None:
    session = account.create()["id"]
    answer = account.api.post(f"/v1/sessions/{session}/navigate", json={"url": "http://nowhere.driftstack.test/"})
    assert answer.status_code == 502
    assert answer.json()["type"].endswith("/driver-error")
    assert "EGRESS" in answer.json()["detail"]
    assert account.get(session)["status"] == "ready"


def test_foreign_and_unknown_sessions_look_alike(account_of, kube: pykube.HTTPClient) -> None:
    mine, other = account_of(), account_of()
    session = mine.create()["id"]
    foreign = other.api.get(f"/v1/sessions/{session}")
    unknown = other.api.get("/v1/sessions/ses_00000000-0000-4000-8000-000000000000")
    assert foreign.status_code == unknown.status_code == 404
    assert {**foreign.json(), "instance": ""} == {**unknown.json(), "instance": ""}
    assert other.api.get("/v1/sessions").json()["data"] == []


def test_rest_sessions_are_visible_to_kubectl(account: Tenant, kube: pykube.HTTPClient) -> None:
    session = account.create()
    found = [
        bs for bs in BrowserSession.objects(kube, namespace=account.namespace) if f"ses_{bs.uid}" == session["id"]
    ]
    assert [bs.status["phase"] for bs in found] == ["ready"]
