"""From session and end to record."""

from __future__ import annotations

from datetime import UTC, datetime

from driftstack_common.kinds import Session, from_body, to_body
from driftstack_common.names import ANNOTATION_API_KEY_ID, ANNOTATION_CREATED_AT, KUBECTL_KEY_ID
from driftstack_operator.reasons import End, Reason
from driftstack_operator.sessions.archive import build_record
from tests.unit.operator.builders import NAMESPACE, UID, ended, pod, session, session_body

ENDED_AT = datetime(2026, 5, 12, 12, 0, 2, 250_000, tzinfo=UTC)
KEY = "key_11111111-2222-4333-8444-555555555555"


def test_whole_record_of_a_session_that_ran() -> None:
    body = session_body(
        phase="ready",
        spec={"archetype": "android_phone", "label": "x", "metadata": {"a": [1]}, "behavioralProfile": "casual"},
        annotations={ANNOTATION_CREATED_AT: "2026-05-12T12:00:00.250Z", ANNOTATION_API_KEY_ID: KEY},
    )
    body["status"] |= {"archetype": "android_phone", "stages": {"ready": "2026-05-12T12:00:01.000Z"}}
    record = build_record(from_body(Session, body), End(Reason.IDLE_TIMEOUT, "idle for 30 s"), ENDED_AT)
    assert to_body(record) == {
        "apiVersion": "driftstack.dev/v1alpha1",
        "kind": "SessionRecord",
        "metadata": {"name": UID, "namespace": NAMESPACE, "labels": {"driftstack.dev/session": UID}},
        "spec": {
            "sessionName": "one",
            "sessionUid": UID,
            "phase": "destroyed",
            "reason": "IdleTimeout",
            "message": "idle for 30 s",
            "archetype": "android_phone",
            "label": "x",
            "metadata": {"a": [1]},
            "behavioralProfile": "casual",
            "apiKeyId": KEY,
            "createdAt": "2026-05-12T12:00:00.250Z",
            "readyAt": "2026-05-12T12:00:01.000Z",
            "endedAt": "2026-05-12T12:00:02.250Z",
            "durationMilliseconds": 2000,
            "browser": {"pod": f"browser-{UID}", "node": "local", "address": "10.0.0.1:8300"},
        },
    }


def test_session_that_never_ran_keeps_what_is_known() -> None:
    record = build_record(
        session(), End(Reason.IMAGE_UNAVAILABLE), ENDED_AT, pod=pod(), default_archetype="desktop"
    )
    assert record.spec.phase == "errored"
    assert record.spec.archetype == "desktop"
    assert record.spec.api_key_id == KUBECTL_KEY_ID
    assert record.spec.ready_at is None
    assert record.spec.browser is not None
    assert record.spec.browser.node == "local"


def test_the_agents_log_is_kept() -> None:
    view = pod(phase="Failed", state=ended("browser-crashed", log='{"event":"claimed"}'))
    record = build_record(session(phase="ready"), End(Reason.BROWSER_CRASHED), ENDED_AT, pod=view)
    assert record.spec.agent_log == '{"event":"claimed"}'


def test_record_never_ends_before_it_began() -> None:
    before = datetime(2026, 5, 12, 11, 59, 59, tzinfo=UTC)
    spec = build_record(session(), End(Reason.DELETED), before).spec
    assert spec.duration_milliseconds == 0
    assert spec.ended_at == spec.created_at
