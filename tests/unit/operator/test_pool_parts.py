"""The parts of a pool that need no cluster: line of warm pods, demand, memory, status, choice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from driftstack_common.kinds import Archetype, Autoscale, Pool, PoolSpec, from_body
from driftstack_common.times import now
from driftstack_operator.pods.view import PodView
from driftstack_operator.pools.choice import Choice, choose
from driftstack_operator.pools.demand import Demand, Starts, desired
from driftstack_operator.pools.index import WarmPods
from driftstack_operator.pools.memory import FORGIVEN, LONGEST_BACKOFF, Memory
from driftstack_operator.pools.status import DIP, LAZY, PACE, Count, body_of, due_in, status_of
from driftstack_operator.reasons import Reason, end
from driftstack_operator.settings import load_settings
from tests.unit.operator.builders import archetype_body, pod, pool, session


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def pods(*names: str) -> dict[str, PodView]:
    views = [pod(name=name) for name in names]
    return {view.uid: view for view in views}


class TestWarmPods:
    def test_who_waited_longest_goes_first(self) -> None:
        known = pods("warm-1", "warm-2")
        index = WarmPods(known.get)
        for view in known.values():
            index.offer(view)
        assert [self.taken(index), self.taken(index), self.taken(index)] == ["warm-1", "warm-2", None]

    def test_offering_again_goes_to_the_end(self) -> None:
        known = pods("warm-1", "warm-2")
        index = WarmPods(known.get)
        for view in [*known.values(), *known.values()][:3]:
            index.offer(view)
        assert [self.taken(index), self.taken(index), self.taken(index)] == ["warm-2", "warm-1", None]

    def test_what_cannot_be_used_leaves_the_line(self) -> None:
        known = pods("warm-1", "warm-2")
        index = WarmPods(known.get)
        for view in list(known.values()):
            index.offer(view)
        gone = known.pop(next(iter(known)))
        assert self.taken(index) == "warm-2"
        assert not index.offered(gone.uid)

    def test_pools_have_lines_of_their_own(self) -> None:
        known = pods("warm-1")
        index = WarmPods(known.get)
        index.offer(next(iter(known.values())))
        assert index.pick("another") is None

    def test_what_is_kept_for_a_session_is_nobody_elses(self) -> None:
        known = pods("warm-1")
        index = WarmPods(known.get)
        (view,) = known.values()
        index.offer(view)
        index.take(view, "s1")
        assert index.pick("default") is None
        assert index.kept_for("s1") == view
        assert index.kept_for("s2") is None
        assert index.kept() == {view.uid}
        index.release("s1")
        assert index.kept() == set()

    @staticmethod
    def taken(index: WarmPods) -> str | None:
        view = index.pick("default")
        if view is None:
            return None
        index.take(view, view.name)
        return view.name


class TestDemand:
    def test_peak_is_the_busiest_slice_of_five_minutes(self) -> None:
        clock = Clock()
        demand = Demand(clock)
        for count in (1, 20, 5):
            for _ in range(count):
                demand.came()
            clock.now += 10
        assert demand.peak() == 2.0
        clock.now += 280
        assert demand.peak() == 0.5
        clock.now += 300
        assert demand.peak() == 0.0

    @pytest.mark.parametrize(
        ("autoscale", "peak", "start_seconds", "expected"),
        [
            (None, 100.0, 1.0, 7),
            (Autoscale(min=2, max=10), 0.0, 1.0, 2),
            (Autoscale(min=2, max=10), 3.1, 1.0, 4),
            (Autoscale(min=2, max=10), 3.0, 2.0, 6),
            (Autoscale(min=2, max=10), 50.0, 1.0, 10),
        ],
    )
    def test_desired(self, autoscale: Autoscale | None, peak: float, start_seconds: float, expected: int) -> None:
        spec = PoolSpec(replicas=7, autoscale=autoscale, image="i")
        assert desired(spec, peak, start_seconds) == expected

    def test_starts_that_differ_a_little_have_no_pod_removed(self) -> None:
        spec = PoolSpec(autoscale=Autoscale(min=1, max=10), image="i")
        wanted, seen = 0, []
        for start_seconds in (1.0, 1.1, 0.9, 1.1, 0.9, 0.6):
            wanted = desired(spec, 4.0, start_seconds, wanted)
            seen.append(wanted)
        assert seen == [4, 5, 5, 5, 5, 3]
        assert desired(spec, 0.0, 1.1, wanted) == 1

    def test_quiet_begins_with_the_last_start(self) -> None:
        clock = Clock()
        starts = Starts(clock)
        assert starts.quiet_for() > 1000
        assert starts.begun("a")
        assert not starts.begun("a")
        starts.begun("b")
        starts.ended("a")
        assert starts.quiet_for() < 0
        starts.ended("b")
        clock.now += 2
        starts.ended("never begun")
        assert starts.quiet_for() == 2


class TestMemory:
    def test_failures_wait_ever_longer_and_are_forgiven(self) -> None:
        clock = Clock()
        memory = Memory(pool(), clock)
        waits = []
        for _ in range(12):
            memory.failed("warm-1", end(Reason.START_FAILED, "no"))
            waits.append(memory.blocked_for())
            clock.now += memory.blocked_for()
        assert waits[:4] == [1, 2, 4, 8]
        assert waits[-1] == LONGEST_BACKOFF
        clock.now += FORGIVEN + 1
        memory.failed("warm-1", end(Reason.START_FAILED, "no"))
        assert memory.blocked_for() == 1

    def test_pod_that_gets_warm_says_how_long_starts_take(self) -> None:
        clock = Clock()
        memory = Memory(pool(), clock)
        memory.failed("warm-0", end(Reason.START_FAILED, "no"))
        memory.created("warm-1")
        clock.now += 3
        assert memory.warmed("warm-1") == 3
        assert memory.start_seconds == 1.5
        assert memory.problem is None
        view = pod(name="warm-1")
        assert memory.age(view) == 3
        assert memory.warmed("warm-1") is None, "not twice"
        memory.gone("warm-1")
        assert memory.age(view) > 1000, "by the API server's time"

    def test_pods_that_never_answer_wait_ever_longer(self) -> None:
        clock = Clock()
        memory = Memory(pool(), clock)
        waits = []
        for _ in range(4):
            memory.failed("warm-1", end(Reason.START_FAILED, "the agent did not answer in time"))
            waits.append(memory.blocked_for())
            clock.now += memory.blocked_for() + load_settings().start_timeout_seconds + 5
        assert waits == [1, 2, 4, 8]

    def test_pods_that_fail_together_count_once(self) -> None:
        clock = Clock()
        memory = Memory(pool(), clock)
        for number in range(20):
            memory.failed(f"warm-{number}", end(Reason.START_FAILED, "their node is lost"))
        assert memory.blocked_for() == 1
        clock.now += 1
        memory.failed("warm-20", end(Reason.START_FAILED, "no"))
        assert memory.blocked_for() == 2

    def test_waiting_for_a_node_is_no_part_of_a_start(self) -> None:
        clock = Clock()
        memory = Memory(pool(), clock)
        memory.created("warm-1")
        clock.now += 3600
        memory.homeless("warm-1")
        memory.homeless("of another term")
        clock.now += 2
        assert memory.warmed("warm-1") == 2
        assert memory.warmed("of another term") is None

    def test_time_to_answer_begins_when_the_pod_runs(self) -> None:
        clock = Clock()
        memory = Memory(pool(), clock)
        memory.created("warm-1")
        clock.now += 300
        assert memory.ran("warm-1") == 0
        clock.now += 61
        assert memory.ran("warm-1") == 61
        memory.warmed("warm-1")
        assert memory.ran("warm-1") == 0, "asked anew after its node was silent"

    def test_giving_way_is_told_until_the_pool_is_full(self) -> None:
        memory = Memory(pool())
        memory.gave_way = "1 Insufficient cpu"
        memory.count_short(short=True)
        assert memory.gave_way
        memory.count_short(short=False)
        assert not memory.gave_way

    def test_counts_go_on_from_the_status(self) -> None:
        body = {"metadata": {"name": "p", "uid": "u"}, "spec": {"image": "i"}, "status": {"hits": 5, "misses": 2}}
        memory = Memory(from_body(Pool, body))
        memory.served(warm=True)
        memory.served(warm=False)
        assert (memory.hits, memory.misses) == (6, 3)


class TestStatus:
    COUNT = Count(desired=2, ready=2, starting=0, claimed=1, hits=3, misses=1)

    def test_all_of_it(self) -> None:
        status = status_of(pool(), self.COUNT, None, now())
        assert (status.replicas, status.ready_replicas, status.hit_rate) == (2, 2, "75%")
        assert status.conditions[0].status == "True"

    def test_zeros_overwrite(self) -> None:
        count = msgspec.structs.replace(self.COUNT, desired=0, ready=0, claimed=0, hits=0, misses=0)
        body = body_of(status_of(pool(), count, None, now()))
        assert (body["replicas"], body["claimedReplicas"], body["hitRate"]) == (0, 0, "")
        assert body["conditions"][0]["reason"] == "NoneWanted"

    def test_a_dip_is_not_told_as_a_lack(self) -> None:
        full = self.stored(status_of(pool(), self.COUNT, None, now()))
        dip = msgspec.structs.replace(self.COUNT, ready=1, short_for=DIP - 1)
        status = status_of(full, dip, None, now())
        assert status.conditions == full.status.conditions
        assert due_in(full.status, status, since_written=0) == LAZY
        lack = status_of(full, msgspec.structs.replace(dip, short_for=DIP), None, now())
        assert lack.conditions[0].status == "False"
        assert due_in(full.status, lack, since_written=0) == PACE

    def test_what_somebody_asked_for_is_told_soon(self) -> None:
        full = self.stored(status_of(pool(), self.COUNT, None, now()))
        more = status_of(full, msgspec.structs.replace(self.COUNT, desired=3), None, now())
        assert more.conditions[0].reason == "Starting"
        assert due_in(full.status, more, since_written=5) == PACE - 5

    def test_what_is_shown_costs_no_write(self) -> None:
        status = status_of(pool(), self.COUNT, None, now())
        assert due_in(status, status_of(self.stored(status), self.COUNT, None, now()), since_written=99) is None

    def test_pool_that_gave_way_says_so_though_it_was_full(self) -> None:
        full = self.stored(status_of(pool(), self.COUNT, None, now()))
        count = msgspec.structs.replace(self.COUNT, ready=1, gave_way="1 Insufficient cpu")
        for problem in (None, end(Reason.UNSCHEDULABLE, "a refill finds no room")):
            (told,) = status_of(full, count, problem, now()).conditions
            assert (told.status, told.reason) == ("False", "GaveWay")
            assert "1 Insufficient cpu" in told.message
        (told,) = status_of(full, count, end(Reason.IMAGE_UNAVAILABLE, "no such image"), now()).conditions
        assert told.reason == "ImageUnavailable", "room is not what it lacks"

    def test_problem_is_named(self) -> None:
        count = msgspec.structs.replace(self.COUNT, ready=0)
        status = status_of(pool(), count, end(Reason.IMAGE_UNAVAILABLE, "no such image"), now())
        assert (status.conditions[0].reason, status.conditions[0].message) == ("ImageUnavailable", "no such image")

    @staticmethod
    def stored(status: Any) -> Pool:
        return msgspec.structs.replace(pool(), status=status)


@pytest.mark.parametrize(
    ("own", "archetypes", "namespace", "expected"),
    [
        (None, None, "driftstack-system", Choice("default", True)),
        ("default", "phones", "driftstack-system", Choice("default", True)),
        ("fast", "phones", "driftstack-system", Choice("fast", False)),
        (None, "phones", "driftstack-system", Choice("phones", True)),
        (None, "phones", "acct-acme", Choice("phones", False)),
        (None, "default", "acct-acme", Choice("default", True)),
    ],
)
def test_choice(own: str | None, archetypes: str | None, namespace: str, expected: Choice) -> None:
    body = archetype_body(namespace=namespace)
    if archetypes is not None:
        body["spec"]["pool"] = archetypes
    chosen = session(spec={"pool": own} if own else {})
    assert choose(chosen, from_body(Archetype, body), "driftstack-system", "default") == expected
