"""Two streams, one collection: merged by uid, the record wins."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from driftstack_api.sessions.cache import SessionCache
from driftstack_api.sessions.view import Overlay, state_of, view
from driftstack_common.kinds import Account, Phase, Session, from_body
from tests.unit.api.test_pagination import NAMESPACE, record, session

ACCOUNT = from_body(
    Account, {"metadata": {"name": "a", "uid": "11111111-1111-1111-1111-111111111111"}, "spec": {}, "status": {}}
)
LATER = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


def listed(cache: SessionCache) -> list[str]:
    return [entry.name for entry in cache.page(NAMESPACE, None, 100)[0]]


def test_a_session_stays_once_from_creation_to_pruning() -> None:
    cache = SessionCache()
    live = session(1, "s")
    cache.put_session(live)
    assert cache.live_count(NAMESPACE) == 1
    cache.drop_session(live)
    entry = cache.get(live.uid)
    assert entry is not None
    assert entry.ended
    assert entry.gone
    assert cache.live_count(NAMESPACE) == 0
    assert listed(cache) == ["s"]
    cache.put_record(record(live))
    assert listed(cache) == ["s"]
    cache.drop_record(record(live))
    assert listed(cache) == []
    assert cache.get(live.uid) is None
    assert cache.by_name(NAMESPACE, "s") is None
    assert not cache._order
    assert not cache._names
    assert not cache._live


def test_a_record_before_the_objects_end_makes_no_double() -> None:
    cache = SessionCache()
    live = session(1, "s")
    cache.put_session(live)
    cache.put_record(record(live))
    entry = cache.get(live.uid)
    assert entry is not None
    assert entry.ended
    assert not entry.gone
    assert cache.live_count(NAMESPACE) == 0
    cache.drop_session(live)
    assert listed(cache) == ["s"]
    assert entry.gone


def test_a_session_whose_record_never_comes_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftstack_api.sessions.cache.ORPHAN_SECONDS", 0)
    cache = SessionCache()
    orphan, other = session(1, "orphan"), session(2, "other")
    cache.put_session(orphan)
    cache.drop_session(orphan)
    cache.put_session(other)
    cache.drop_session(other)
    cache.put_record(record(other))
    assert listed(cache) == ["other"]


def test_a_deleted_session_is_destroyed_at_once() -> None:
    cache = SessionCache()
    cache.put_session(session(1, "s", deletionTimestamp="2026-01-01T00:00:09Z", finalizers=["x"]))
    entry = cache.page(NAMESPACE, None, 1)[0][0]
    shown = view(entry, ACCOUNT)
    assert shown["status"] == "destroyed"
    assert shown["destroyed_at"] == shown["last_state_at"] == "2026-01-01T00:00:09.000Z"
    assert cache.live_count(NAMESPACE) == 0


def test_an_end_is_never_before_the_beginning() -> None:
    cache = SessionCache()
    cache.put_session(session(700, "s", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["x"]))
    shown = view(cache.page(NAMESPACE, None, 1)[0][0], ACCOUNT)
    assert shown["destroyed_at"] == shown["created_at"] == "2026-01-01T00:00:00.700Z"


@pytest.mark.parametrize(
    ("phase", "step", "overlay", "shown"),
    [
        ("ready", 0, None, Phase.READY),
        ("busy", 1, None, Phase.BUSY),
        ("ready", 0, Overlay(True, 1, LATER), Phase.BUSY),
        ("busy", 1, Overlay(True, 1, LATER), Phase.BUSY),
        ("busy", 1, Overlay(False, 1, LATER), Phase.READY),
        ("busy", 2, Overlay(False, 1, LATER), Phase.BUSY),
        ("ready", 1, Overlay(False, 1, LATER), Phase.READY),
        ("creating", 0, Overlay(True, 1, LATER), Phase.CREATING),
    ],
)
def test_what_this_replica_knows_better(phase: str, step: int, overlay: Overlay | None, shown: Phase) -> None:
    body = {
        "metadata": {"name": "s", "namespace": NAMESPACE, "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": phase, "step": step},
    }
    cache = SessionCache()
    cache.put_session(from_body(Session, body))
    entry = cache.page(NAMESPACE, None, 1)[0][0]
    assert state_of(entry, overlay).phase is shown


def test_a_name_used_again_is_the_newer_session() -> None:
    cache = SessionCache()
    old = session(1, "s")
    cache.put_session(old)
    cache.drop_session(old)
    cache.put_record(record(old))
    fresh = session(2, "s")
    renamed = from_body(
        Session, {"metadata": {"name": "s", "namespace": NAMESPACE, "uid": "new", "creationTimestamp": LATER}}
    )
    cache.put_session(renamed)
    found = cache.by_name(NAMESPACE, "s")
    assert found is not None
    assert found.uid == "new"
    cache.drop_record(record(old))
    assert cache.by_name(NAMESPACE, "s") is found
    assert fresh.uid == old.uid
