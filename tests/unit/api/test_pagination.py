"""Cursors, and pages that stay stable while sessions come and go."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from itertools import cycle, islice
from operator import methodcaller
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


Event = Callable[[SessionCache], None]
Events = list[Event]


class Replica:
    """A facade's copy, fed by two streams that know nothing of each other."""

    def __init__(self, *streams: Events) -> None:
        self.cache = SessionCache()
        self._streams = [list(reversed(stream)) for stream in streams]

    def advance(self, stream: int, events: int) -> None:
        """Take the next events of one stream."""
        for _ in range(min(events, len(self._streams[stream]))):
            self._streams[stream].pop()(self.cache)


def streams_of(fates: list[tuple[int, str]], order: random.Random) -> tuple[Events, Events]:
    """What the watches of sessions and of records tell, each in an order that can happen."""
    live: list[Events] = []
    records: list[Events] = []
    for number, (created, fate) in enumerate(fates):
        item = session(created, f"s{number}")
        kept = record(item)
        live.append([methodcaller("put_session", item), methodcaller("put_session", item)])
        if fate != "live":
            live[-1].append(methodcaller("drop_session", item))
            records.append([methodcaller("put_record", kept)])
        if fate == "pruned":
            records[-1].append(methodcaller("drop_record", kept))
    return mixed(live, order), mixed(records, order)


def mixed(parts: list[Events], order: random.Random) -> Events:
    """Shuffle events, keeping the order of each object's own."""
    turns = [number for number, part in enumerate(parts) for _ in part]
    order.shuffle(turns)
    remaining = [iter(part) for part in parts]
    return [next(remaining[number]) for number in turns]


@given(
    fates=st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["live", "ended", "pruned"])), max_size=25),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=100, deadline=None)
def test_a_walk_over_two_replicas_misses_nothing_that_stays(
    fates: list[tuple[int, str]], sizes: list[int], order: random.Random
) -> None:
    streams = streams_of(fates, order)
    replicas = [Replica(*streams), Replica(*streams)]
    for replica in replicas:
        replica.advance(0, order.randint(0, len(streams[0])))
        replica.advance(1, order.randint(0, len(streams[1])))
    fate_of = {_uid(f"s{number}"): fate for number, (_, fate) in enumerate(fates)}

    def known() -> set[str]:
        return {uid for uid in fate_of if all(replica.cache.get(uid) for replica in replicas)}

    stayed, seen = known(), []
    before: Position | None = None
    more = True
    for size in islice(cycle(sizes), 1000):
        # Each page comes from either replica; both move on in between, each at its own pace.
        page, more = order.choice(replicas).cache.page(NAMESPACE, before, size)
        assert len(page) <= size
        seen += [(entry.created, entry.uid) for entry in page]
        if page:
            before = decode(encode(Position(*seen[-1]), "acct"), "acct")
        if not more:
            break
        for replica in replicas:
            replica.advance(order.randint(0, 1), order.randint(0, 4))
        stayed -= {uid for uid in stayed - known() if fate_of[uid] == "pruned"}
    assert not more, "the pages never end"
    assert stayed <= {uid for _, uid in seen}
    assert seen == sorted(set(seen), reverse=True)


def test_a_cursor_outlives_the_session_that_it_was_made_from() -> None:
    cache = SessionCache()
    kept = [record(session(number, f"s{number}")) for number in range(5)]
    for each in kept:
        cache.put_record(each)
    page, _ = cache.page(NAMESPACE, None, 2)
    cursor = encode(Position(page[-1].created, page[-1].uid), "acct")
    for each in kept[3:]:
        cache.drop_record(each)
    following, more = cache.page(NAMESPACE, decode(cursor, "acct"), 2)
    assert [entry.name for entry in following] == ["s2", "s1"]
    assert more


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
