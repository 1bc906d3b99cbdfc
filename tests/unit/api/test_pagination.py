"""Cursors, and pages that stay stable while sessions come and go."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftstack_api.pagination import BadCursor, Position, decode, encode
from driftstack_api.sessions.cache import SessionCache
from driftstack_common.kinds import Record, Session, from_body
from driftstack_common.times import format_time, parse_time

NAMESPACE = "acct-a"
START = parse_time("2026-01-01T00:00:00.000Z").timestamp()


def session(created: int, name: str, **metadata: Any) -> Session:
    """A session made so many milliseconds after the start."""
    stamped = {"driftstack.dev/created-at": format_time(_at(created))}
    body = {"name": name, "namespace": NAMESPACE, "uid": _uid(name), "annotations": stamped, **metadata}
    return from_body(Session, {"metadata": body, "spec": {}, "status": {}})


def record(of: Session) -> Record:
    """The record of a session."""
    spec = {
        "sessionName": of.metadata.name,
        "sessionUid": of.uid,
        "phase": "destroyed",
        "reason": "Deleted",
        "archetype": "default",
        "apiKeyId": of.api_key_id,
        "createdAt": format_time(of.created_at),
        "endedAt": format_time(of.created_at),
        "durationMilliseconds": 0,
    }
    return from_body(Record, {"metadata": {"name": of.uid, "namespace": NAMESPACE}, "spec": spec})


def _uid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def _at(milliseconds: int) -> Any:
    return parse_time("2026-01-01T00:00:00.000Z").fromtimestamp(
        START + milliseconds / 1000, parse_time("2026-01-01T00:00:00.000Z").tzinfo
    )


def walk(cache: SessionCache, sizes: list[int], between: Any = None) -> list[str]:
    """Read all pages, through cursors; call `between` before each but the first."""
    seen: list[str] = []
    before: Position | None = None
    for turn in range(10_000):
        page, more = cache.page(NAMESPACE, before, sizes[turn % len(sizes)])
        seen += [entry.uid for entry in page]
        if not more:
            return seen
        before = decode(encode(Position(page[-1].created, page[-1].uid), "acct"), "acct")
        if between is not None:
            between()
    raise AssertionError("the pages never end")


@given(
    first=st.lists(st.integers(0, 5000), max_size=30),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    changes=st.lists(st.tuples(st.sampled_from(["create", "end", "end-late", "end-early"]), st.integers(0, 99))),
)
@settings(max_examples=200, deadline=None)
def test_no_session_is_missed_or_shown_twice(
    first: list[int], sizes: list[int], changes: list[tuple[str, int]]
) -> None:
    cache = SessionCache()
    living = [session(created, f"first-{number}") for number, created in enumerate(first)]
    for item in living:
        cache.put_session(item)
    expected = sorted((cache_key(item) for item in living), reverse=True)
    script = iter(changes)
    late: list[Session] = []

    def change() -> None:
        action, choice = next(script, ("none", 0))
        if late:
            cache.put_record(record(late.pop()))
        if action == "create":
            item = session(10_000 + choice, f"new-{choice}-{len(living)}")
            living.append(item)
            cache.put_session(item)
        elif action.startswith("end") and living:
            item = living.pop(choice % len(living))
            if action == "end-early":
                cache.put_record(record(item))
            cache.drop_session(item)
            if action == "end":
                cache.put_record(record(item))
            elif action == "end-late":
                late.append(item)

    seen = walk(cache, sizes, change)
    known = {uid for _, uid in expected}
    assert [uid for uid in seen if uid in known] == [uid for _, uid in expected]
    assert len(seen) == len(set(seen))


def cache_key(item: Session) -> tuple[int, str]:
    """The place of a session in the list."""
    return round(item.created_at.timestamp() * 1000), item.uid


@given(order=st.permutations(list(range(12))), ended=st.sets(st.integers(0, 11)))
@settings(max_examples=50, deadline=None)
def test_two_replicas_give_the_same_pages(order: list[int], ended: set[int]) -> None:
    items = [session(number // 3, f"s{number}") for number in range(12)]
    one, two = SessionCache(), SessionCache()
    for number in range(12):
        one.put_session(items[number])
    for number in order:
        if number in ended:
            two.put_record(record(items[number]))
        else:
            two.put_session(items[number])
    for number in ended:
        one.drop_session(items[number])
        one.put_record(record(items[number]))
    assert walk(one, [5]) == walk(two, [5])
    assert walk(one, [1]) == walk(two, [7])


@given(created=st.integers(0, 2**52), uid=st.uuids(), account=st.uuids())
def test_cursors_come_back_as_they_were(created: int, uid: uuid.UUID, account: uuid.UUID) -> None:
    position = Position(created, str(uid))
    cursor = encode(position, str(account))
    assert len(cursor) <= 512
    assert decode(cursor, str(account)) == position


@given(st.text(max_size=60) | st.binary(min_size=31, max_size=31).map(bytes.hex))
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(BadCursor):
        decode(text, "account")


def test_another_accounts_cursor_is_refused() -> None:
    cursor = encode(Position(5, str(uuid.uuid4())), "one")
    with pytest.raises(BadCursor):
        decode(cursor, "two")
    changed = cursor[:10] + ("A" if cursor[10] != "A" else "B") + cursor[11:]
    with pytest.raises(BadCursor):
        decode(changed, "one")


def test_a_page_of_ten_thousand_takes_no_time() -> None:
    cache = SessionCache()
    for number in range(10_000):
        cache.put_record(record(session(number, f"s{number}")))
    middle = Position(round((START + 5) * 1000), "z")
    started = time.perf_counter()
    for _ in range(100):
        cache.page(NAMESPACE, middle, 100)
    assert (time.perf_counter() - started) / 100 < 0.005, "a page is a slice of an index, not a sort"
