"""Three sources without order between them: the newest version always wins."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from driftstack_operator.store import Shelf, Store
from tests.unit.operator.builders import Body, pod_body


def thing(version: int, *, uid: str = "u", name: str = "n", **fields: Any) -> Body:
    return {"metadata": {"uid": uid, "name": name, "resourceVersion": str(version)}, **fields}


def listing(version: int, *items: Body) -> Body:
    return {"metadata": {"resourceVersion": str(version)}, "items": list(items)}


def replace(things: Shelf[Body], listing: Body) -> tuple[list[Body], list[Body]]:
    changed = things.take(listing["items"])
    return changed, things.settle(
        {item["metadata"]["uid"] for item in listing["items"]}, int(listing["metadata"]["resourceVersion"])
    )


def shelf() -> Shelf[Body]:
    return Shelf(lambda body: body, lambda body: (body["group"],) if "group" in body else ())


def test_older_version_changes_nothing() -> None:
    things = shelf()
    things.apply(thing(5))
    assert things.apply(thing(4)) is None
    assert things.get("", "n") == thing(5)


def test_late_answer_brings_nothing_back() -> None:
    things = shelf()
    things.apply(thing(5))
    things.remove("u")
    assert things.apply(thing(6)) is None
    assert things.get("", "n") is None


def test_name_that_is_used_again_is_another_object() -> None:
    things = shelf()
    things.apply(thing(5, uid="old"))
    things.apply(thing(6, uid="new"))
    things.remove("old")
    assert things.get("", "n") == thing(6, uid="new")


def test_list_finds_what_went_and_what_changed() -> None:
    things = shelf()
    things.apply(thing(1, uid="stays", name="a"))
    things.apply(thing(2, uid="goes", name="b"))
    changed, gone = replace(things, listing(9, thing(1, uid="stays", name="a"), thing(8, uid="comes", name="c")))
    assert [body["metadata"]["uid"] for body in changed] == ["comes"]
    assert [body["metadata"]["uid"] for body in gone] == ["goes"]


def test_what_came_after_the_list_is_kept() -> None:
    things = shelf()
    things.apply(thing(10))
    changed, gone = replace(things, listing(9))
    assert (changed, gone) == ([], [])
    assert things.by_uid("u") is not None


def test_groups_follow_their_members() -> None:
    things = shelf()
    things.apply(thing(1, group="a"))
    things.apply(thing(2, group="b"))
    assert (list(things.group("a")), list(things.group("b"))) == ([], ["u"])
    things.remove("u")
    assert things.group("b") == {}


def test_only_the_watch_counts_as_delivered() -> None:
    things = shelf()
    things.apply(thing(3), watched=True)
    things.apply(thing(5))
    assert things.delivered == {"u": 3}


def test_late_event_of_what_is_gone_is_kept_no_longer_than_to_the_next_list() -> None:
    things = shelf()
    things.apply(thing(3), watched=True)
    things.remove("u")
    things.apply(thing(4), watched=True)
    replace(things, listing(9, thing(8, uid="other")))
    assert things.delivered == {}


def test_unreadable_object_is_left_out() -> None:
    store = Store()
    assert store.sessions.apply(thing(1, spec={"label": 5, "metadata": "no object"})) is None
    assert len(store.sessions) == 0


def test_node_never_heard_of_is_not_lost() -> None:
    store = Store()
    assert store.node_lost_in("unknown", patience=0) is None
    store.lost_nodes.add("removed")
    assert store.node_lost_in("removed", patience=60) == 0


def test_pods_are_found_by_their_session() -> None:
    store = Store()
    store.pods.apply(pod_body(uid="a"))
    store.pods.apply(pod_body(uid="b"))
    assert [view.session for view in store.pods.group("a").values()] == ["a"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 9)), max_size=12), st.randoms())
def test_order_of_arrival_does_not_matter(arrivals: list[tuple[str, int]], random: Any) -> None:
    one, other = shelf(), shelf()
    for uid, version in arrivals:
        one.apply(thing(version, uid=uid, name=uid))
    random.shuffle(arrivals)
    for uid, version in arrivals:
        other.apply(thing(version, uid=uid, name=uid))
    for uid in "ab":
        assert one.by_uid(uid) == other.by_uid(uid)
