"""Events, deliveries and signatures; the published client verifies."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from driftstack import verify_webhook_signature

from driftstack_common.kinds import Record, RecordSpec
from driftstack_common.kinds.meta import Meta
from driftstack_common.names import DELIVERY_ID, delivery_id, delivery_name
from driftstack_common.webhooks import signing
from driftstack_common.webhooks.deliveries import build_delivery, replay_patch, subscribed
from driftstack_common.webhooks.events import PAYLOAD_LIMIT, key_revoked, payload_of, session_ended
from tests.unit.webhooks.builders import NOW, delivery, endpoint

UID = "9d2f0c1e-5b7a-4f0e-8a3d-2c6b1e4f7a90"


def record(**spec: Any) -> Record:
    good = {
        "session_name": "s",
        "session_uid": UID,
        "phase": "destroyed",
        "reason": "IdleTimeout",
        "archetype": "default",
        "api_key_id": "key_1",
        "created_at": "2026-05-12T12:00:00.000Z",
        "ended_at": "2026-05-12T12:00:07.500Z",
        "duration_milliseconds": 7500,
    }
    return Record(metadata=Meta(name=UID), spec=RecordSpec(**(good | spec)))


def test_session_completed() -> None:
    event = session_ended(record(label="nightly", metadata={"ticket": "JIRA-1"}))
    assert json.loads(payload_of(event)) == {
        "id": event.id,
        "type": "session.completed",
        "created_at": "2026-05-12T12:00:07.500Z",
        "data": {
            "session_id": f"ses_{UID}",
            "duration_ms": 7500,
            "reason": "IdleTimeout",
            "label": "nightly",
            "metadata": {"ticket": "JIRA-1"},
        },
    }


@pytest.mark.parametrize(("ready_at", "operation"), [(None, "start"), ("2026-05-12T12:00:01.000Z", "run")])
def test_session_failed(ready_at: str | None, operation: str) -> None:
    ended = record(phase="errored", reason="OutOfMemory", message="the browser was killed", ready_at=ready_at)
    event = session_ended(ended)
    assert event.type == "session.failed"
    assert json.loads(payload_of(event))["data"] == {
        "session_id": f"ses_{UID}",
        "duration_ms": 7500,
        "reason": "OutOfMemory",
        "label": None,
        "metadata": None,
        "operation": operation,
        "error_name": "OutOfMemory",
        "error_message": "the browser was killed",
    }


def test_key_revoked() -> None:
    event = key_revoked(UID, f"key_{UID}", "ci", NOW)
    data = {"api_key_id": f"key_{UID}", "name": "ci", "revoked_at": "2026-05-12T12:00:00.000Z"}
    assert json.loads(payload_of(event))["data"] == data


def test_one_event_has_one_id_whoever_tells_it() -> None:
    event = session_ended(record())
    assert event.id == session_ended(record()).id == str(uuid.UUID(event.id))
    assert event.id != session_ended(record(phase="errored")).id


def test_metadata_that_leave_no_room_are_left_out() -> None:
    event = session_ended(record(metadata={"big": "x" * PAYLOAD_LIMIT}))
    text = payload_of(event)
    assert len(text) < 1000
    assert json.loads(text)["data"]["metadata"] is None


def test_delivery_follows_from_endpoint_and_event() -> None:
    hook, event = endpoint(), session_ended(record())
    body = build_delivery(hook, event)
    assert body == build_delivery(hook, event)
    assert body["metadata"]["name"] == delivery_name(hook.metadata.uid, event.id)
    assert body["metadata"]["name"] != delivery_name(UID, event.id)
    assert DELIVERY_ID.fullmatch(delivery_id(body["metadata"]["name"]))
    assert body["spec"]["payload"] == payload_of(event)
    assert body["metadata"]["ownerReferences"][0]["uid"] == hook.metadata.uid


def test_who_is_told() -> None:
    event = session_ended(record())
    there = endpoint("b")
    others = [
        endpoint("other-event", events=["session.failed"]),
        endpoint("disabled", disabled=True),
        endpoint("failed", status={"disabledGeneration": 1}),
    ]
    paused, fixed = endpoint("a", paused=True), endpoint("c", status={"disabledGeneration": 0})
    assert subscribed([there, *others, fixed, paused], event) == [paused, there, fixed]
    earlier = session_ended(record(ended_at="2026-05-12T10:59:59.999Z"))
    assert subscribed([there], earlier) == [], "it was made after that"


def test_replay_names_the_version_that_was_seen() -> None:
    patch = replay_patch(delivery(endpoint(), phase="dlq", attempts=6), datetime(2026, 5, 13, tzinfo=UTC))
    assert patch["metadata"]["resourceVersion"] == "1"
    assert patch["status"]["phase"] == "pending"
    assert patch["status"]["attempts"] == 0


def test_signature() -> None:
    new, old = signing.mint().plaintext, signing.mint().plaintext
    body = b'{"id": 1}'
    header = signing.sign(body, [new, old], 1_700_000_000)
    assert re.fullmatch(r"t=1700000000,v1=[0-9a-f]{64},v1=[0-9a-f]{64}", header)
    for secret, right in ((new, True), (old, True), (new.removeprefix("whsec_"), False)):
        found = verify_webhook_signature(body=body, header=header, secret=secret, now_seconds=1_700_000_010)
        assert found is right
    assert not verify_webhook_signature(body=body + b" ", header=header, secret=new, now_seconds=1_700_000_010)


def test_secrets() -> None:
    minted = signing.mint()
    assert re.fullmatch(r"whsec_[A-Z2-7]{32}", minted.plaintext)
    assert minted.plaintext.startswith(minted.prefix)
    assert minted.plaintext != signing.mint().plaintext
