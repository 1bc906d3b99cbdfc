"""What a pool does in each state: a table, and what holds for every pool."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftstack_operator.pods.view import PodView
from driftstack_operator.pools.plan import LOOK_AGAIN, LOOK_FOR_ROOM, Calm, Cause, Member, Plan, plan
from tests.unit.operator.builders import condition, pod

QUIET = Calm()
STARTING = Calm(quiet_for=-1.0, short_for=0.5, wait=0.1, patience=2.0)
"""A session is starting."""
LONG_BUSY = msgspec.structs.replace(STARTING, short_for=2.0)
JUST_BEGUN = Calm(quiet_for=0.05, short_for=0.05, wait=0.1, patience=2.0)
CROWDED = Calm(crowded=True)
"""A session's pod finds no room."""
SETTLING = Calm(settling=True)
"""A pod has just gone."""
STUCK = [condition("PodScheduled", "False", "Unschedulable", "0/1 nodes")]


def members(word: str) -> list[Member]:
    """R ready, S starting; lower case for stale; U starts and no node takes it; X failed."""
    return [
        Member(
            pod=view(number, stuck=letter == "U"),
            ready=letter in "Rr",
            stale=letter in "rs",
            failed=letter == "X",
        )
        for number, letter in enumerate(word)
    ]


def view(number: int, *, stuck: bool) -> PodView:
    return pod(name=f"warm-{number}", conditions=STUCK if stuck else [])


def shown(done: Plan) -> tuple[int, str, float | None]:
    removed = ",".join(f"{pod.name.removeprefix('warm-')}:{cause.value}" for pod, cause in done.delete)
    return done.create, removed, done.again


@pytest.mark.parametrize(
    ("word", "desired", "calm", "expected"),
    [
        ("", 0, QUIET, (0, "", None)),
        ("", 3, QUIET, (2, "", None)),  # two at once, the next when they are warm
        ("S", 3, QUIET, (1, "", None)),
        ("SS", 3, QUIET, (0, "", None)),
        ("RR", 3, QUIET, (1, "", None)),
        ("RRR", 3, QUIET, (0, "", None)),
        ("X", 1, QUIET, (1, "", None)),  # who failed is removed elsewhere and counts no more
        # never beside a session that starts, until it has waited long enough
        ("R", 3, STARTING, (0, "", LOOK_AGAIN)),
        ("R", 3, JUST_BEGUN, (0, "", LOOK_AGAIN)),
        ("R", 3, LONG_BUSY, (1, "", None)),
        ("RS", 3, LONG_BUSY, (0, "", LOOK_AGAIN)),
        # too many: those first that are not warm yet
        ("RRS", 2, QUIET, (0, "2:surplus", None)),
        ("RRR", 1, QUIET, (0, "0:surplus,1:surplus", None)),
        ("SS", 0, STARTING, (0, "0:surplus,1:surplus", None)),
        # old ones stay until their replacement is warm, one tenth at a time
        ("rr", 2, QUIET, (1, "", None)),
        ("rrS", 2, QUIET, (0, "", None)),
        ("rrR", 2, QUIET, (0, "0:outdated", None)),
        ("rRR", 2, QUIET, (0, "0:outdated", None)),
        ("rR", 2, STARTING, (0, "", LOOK_AGAIN)),
        ("rR", 2, LONG_BUSY, (0, "", LOOK_AGAIN)),  # old ones can wait for quiet
        ("r" * 20, 20, QUIET, (1, "", None)),
        ("s", 1, QUIET, (1, "0:outdated", None)),
        # no node has room for the replacement besides the old one
        ("rU", 1, QUIET, (0, "0:outdated", LOOK_FOR_ROOM)),
        ("rU", 1, SETTLING, (0, "", LOOK_FOR_ROOM)),
        ("RU", 2, QUIET, (0, "", None)),
        # full nodes: one pod that waits for room is enough, and none while a session's does
        ("RU", 9, QUIET, (0, "", None)),
        ("R", 9, CROWDED, (0, "", LOOK_FOR_ROOM)),
        ("rR", 2, CROWDED, (0, "", LOOK_FOR_ROOM)),
        ("RRR", 2, CROWDED, (0, "0:surplus", None)),
    ],
)
def test_plan(word: str, desired: int, calm: Calm, expected: tuple[int, str, float | None]) -> None:
    assert shown(plan(members(word), desired, calm)) == expected


def test_more_nodes_start_more_at_once() -> None:
    assert plan([], 100, QUIET, nodes=30).create == 30


def test_after_failures_nothing_is_started_for_a_while() -> None:
    assert shown(plan(members("R"), 3, QUIET, blocked_for=7.0)) == (0, "", 7.0)


WORDS = st.text(alphabet="RrSsUX", max_size=8)


@given(word=WORDS, desired=st.integers(0, 6))
def test_nothing_takes_the_room_that_a_session_waits_for(word: str, desired: int) -> None:
    assert plan(members(word), desired, CROWDED).create == 0


@given(word=WORDS, desired=st.integers(0, 6), quiet=st.booleans(), short=st.floats(0, 10))
def test_no_pool_grows_beyond_what_it_wants_and_its_old_pods(
    word: str, desired: int, quiet: bool, short: float
) -> None:
    calm = Calm(quiet_for=math.inf if quiet else -1.0, short_for=short, wait=0.1, patience=2.0)
    done = plan(members(word), desired, calm)
    alive = sum(letter != "X" for letter in word)
    assert done.create >= 0
    extra = min(word.count("r"), math.ceil(desired / 10))
    if done.create:
        removed = sum(cause is Cause.OUTDATED for _, cause in done.delete)
        assert alive - removed + done.create <= desired + extra
    names = [pod.name for pod, _ in done.delete]
    assert len(names) == len(set(names)), "nothing is removed twice"


@given(word=WORDS, desired=st.integers(0, 6))
def test_warm_pods_that_are_wanted_stay_unless_one_makes_room(word: str, desired: int) -> None:
    seen = members(word)
    ready = [m.pod.name for m in seen if m.ready]
    removed = {pod.name for pod, _ in plan(seen, desired, QUIET).delete}
    left = len([name for name in ready if name not in removed])
    room = 1 if "U" in word and "r" in word else 0
    assert left >= min(len(ready), desired) - room


@given(word=WORDS, desired=st.integers(0, 6))
def test_every_pool_comes_to_rest(word: str, desired: int) -> None:
    """Doing what the plan says, again and again, ends with as many of today's pods as are wanted."""
    seen = [m for m in members(word.replace("U", "S")) if not m.failed]
    for step in range(60):
        done = plan(seen, desired, QUIET)
        removed = {pod.name for pod, _ in done.delete}
        seen = [msgspec.structs.replace(m, ready=True) for m in seen if m.pod.name not in removed]
        seen += [Member(pod=pod(name=f"new-{step}-{number}")) for number in range(done.create)]
    assert [(m.ready, m.stale) for m in seen] == [(True, False)] * desired


def test_table_uses_every_cause() -> None:
    used: set[Any] = {Cause.FAILED, Cause.GAVE_WAY}  # decided elsewhere
    for word, desired in (("RRR", 1), ("s", 1)):
        used |= {cause for _, cause in plan(members(word), desired, QUIET).delete}
    assert used == set(Cause)
