"""What the facade keeps answers the same as what it was sent."""

from __future__ import annotations

from typing import Any

from driftstack_api.lean import lean_record, lean_session
from driftstack_api.sessions.cache import entry_of_record, entry_of_session
from driftstack_api.sessions.schemas import SessionObject
from driftstack_api.sessions.view import view
from driftstack_common.kinds import Account, Record, Session, from_body

UID = "22222222-2222-2222-2222-222222222222"
TIME = "2026-01-01T00:00:00.700Z"
ACCOUNT = from_body(
    Account, {"metadata": {"name": "a", "uid": "11111111-1111-1111-1111-111111111111"}, "spec": {}, "status": {}}
)
SPEC = {"archetype": "iphone_16", "label": "a", "metadata": {"n": [1, 2.5, None]}}
BROWSER = {"pod": "p", "address": "10.0.0.1:80", "tokenKey": "1"}


def session() -> Session:
    stamped = {"driftstack.dev/created-at": TIME, "driftstack.dev/api-key-id": f"key_{UID}"}
    body: dict[str, Any] = {
        "metadata": {
            "name": "s",
            "namespace": "acct-a",
            "uid": UID,
            "resourceVersion": "7",
            "labels": {"a": "b"},
            "annotations": stamped,
        },
        "spec": SPEC,
        "status": {
            "phase": "busy",
            "step": 3,
            "browser": BROWSER,
            "message": "long",
            "conditions": [{"type": "Ready", "status": "True", "reason": "R", "lastTransitionTime": TIME}],
            "lastTransitionTime": TIME,
            "stages": {"ready": TIME},
        },
    }
    return from_body(Session, body)


def record() -> Record:
    spec = {
        **SPEC,
        "sessionName": "s",
        "sessionUid": UID,
        "phase": "errored",
        "reason": "BrowserCrashed",
        "apiKeyId": f"key_{UID}",
        "createdAt": TIME,
        "endedAt": TIME,
        "durationMilliseconds": 0,
        "agentLog": "x" * 2048,
        "browser": BROWSER,
    }
    return from_body(Record, {"metadata": {"name": UID, "namespace": "acct-a", "uid": "r"}, "spec": spec})


def test_a_lean_session_looks_the_same_and_can_be_driven() -> None:
    lean = lean_session(session())
    assert view(entry_of_session(lean), ACCOUNT) == view(entry_of_session(session()), ACCOUNT)
    assert lean.status.browser == session().status.browser
    assert lean.status.step == 3
    assert lean.metadata.resource_version == "7"
    assert not lean.status.conditions


def test_a_lean_record_looks_the_same() -> None:
    lean = lean_record(record())
    assert view(entry_of_record(lean), ACCOUNT) == view(entry_of_record(record()), ACCOUNT)
    assert lean.spec.reason == "BrowserCrashed"
    assert not lean.spec.agent_log


def test_views_are_what_the_schema_describes() -> None:
    for entry in (entry_of_session(session()), entry_of_record(record())):
        shown = view(entry, ACCOUNT)
        assert shown.keys() == SessionObject.model_fields.keys()
        assert SessionObject.model_validate(shown, strict=True).model_dump() == shown
