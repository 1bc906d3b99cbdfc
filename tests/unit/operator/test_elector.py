"""Who leads: one at a time, whatever the API server, the network and the clocks do."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from driftstack_common.kube.errors import Unreachable
from driftstack_operator.leadership.elector import LONGEST, Elector, NotLeading
from tests.unit.operator.leases import LeaseKube, Server, candidate, run


def now() -> float:
    return asyncio.get_running_loop().time()


def kube_of(elector: Elector) -> LeaseKube:
    assert isinstance(elector._kube, LeaseKube)
    return elector._kube


@contextlib.asynccontextmanager
async def holding(elector: Elector) -> AsyncIterator[asyncio.Task[str]]:
    """The leader renews; cancelled, it is dead."""
    task = asyncio.create_task(elector.hold())
    yield task
    task.cancel()
    await asyncio.wait([task])


def test_first_makes_the_lease_and_leads() -> None:
    async def play() -> None:
        server = Server()
        first = candidate(server, "first")
        with pytest.raises(NotLeading):
            first.before("create-pods")
        await first.acquire()
        first.before("create-pods")
        assert server.stored is not None
        assert (server.stored["spec"]["holderIdentity"], server.stored["spec"]["leaseTransitions"]) == ("first", 0)

    run(play())


def test_leader_that_renews_stays() -> None:
    async def play() -> None:
        server = Server()
        first, second = candidate(server, "first"), candidate(server, "second")
        await first.acquire()
        async with holding(first) as task:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(second.acquire(), 3600)
            assert first.leads
            assert not task.done()
        assert set(server.writes) == {"first"}

    run(play())


def test_dead_leaders_lease_is_taken_when_it_has_run_out_and_not_before() -> None:
    async def play() -> None:
        server = Server()
        first, second = candidate(server, "first"), candidate(server, "second", offset=-1e6)
        await first.acquire()
        async with holding(first):
            standby = asyncio.create_task(second.acquire())
            await asyncio.sleep(100)
        died = now()
        await standby
        assert 2.0 < now() - died < 3.1
        assert not first.leads
        assert server.stored is not None
        assert server.stored["spec"]["leaseTransitions"] == 1

    run(play())


def test_released_lease_is_taken_at_once() -> None:
    async def play() -> None:
        server = Server()
        first, second = candidate(server, "first"), candidate(server, "second")
        await first.acquire()
        standby = asyncio.create_task(second.acquire())
        async with holding(first):
            await asyncio.sleep(10)
        begun = now()
        await first.release()
        assert not first.leads
        await standby
        assert now() - begun < 0.05

    run(play())


def test_leader_without_an_api_server_stops_before_its_lease_runs_out() -> None:
    async def play() -> None:
        server = Server()
        first = candidate(server, "first")
        await first.acquire()
        async with holding(first) as task:
            await asyncio.sleep(10)
            assert first.leads
            kube_of(first).unreachable = True
            begun = now()
            await task
        assert now() - begun < 3.0
        assert not first.leads

    run(play())


def test_one_renewal_that_gets_lost_is_repeated() -> None:
    async def play() -> None:
        delays = iter([0.001] * 4 + [60.0])
        server = Server(lambda: next(delays, 0.001))
        first = candidate(server, "first")
        await first.acquire()
        async with holding(first) as task:
            await asyncio.sleep(60)
            assert first.leads
            assert not task.done()

    run(play())


def test_leader_whose_lease_was_taken_says_so_and_stops() -> None:
    async def play() -> None:
        server = Server()
        first = candidate(server, "first")
        await first.acquire()
        async with holding(first) as task:
            server.store({"holderIdentity": "intruder", "leaseDurationSeconds": 3})
            assert "another operator" in await task
        assert not first.leads

    run(play())


def test_leader_makes_a_deleted_lease_again() -> None:
    async def play() -> None:
        server = Server()
        first, second = candidate(server, "first"), candidate(server, "second")
        await first.acquire()
        standby = asyncio.create_task(second.acquire())
        async with holding(first) as task:
            await asyncio.sleep(10)
            server.stored = None
            await asyncio.sleep(10)
            assert first.leads
            assert not task.done()
            assert not standby.done()
        await standby

    run(play())


def test_standby_with_a_deaf_watch_takes_nothing_from_a_living_leader() -> None:
    async def play() -> None:
        server = Server()
        first, second = candidate(server, "first"), candidate(server, "second")
        kube_of(second).deaf = True
        await first.acquire()
        async with holding(first):
            standby = asyncio.create_task(second.acquire())
            await asyncio.sleep(600)
            assert first.leads
            assert not standby.done()
        await standby

    run(play())


@pytest.mark.parametrize("slow", [1.0, 5.0])
def test_slow_api_server_gets_a_longer_lease_and_a_prompt_one_a_short_one(slow: float) -> None:
    async def play() -> None:
        server = Server()
        first = candidate(server, "first")
        await first.acquire()
        async with holding(first) as task:
            server.delay = lambda: slow / 2
            await task
        await first.acquire()
        async with holding(first) as task:
            await asyncio.sleep(600)
            assert first.leads
            assert not task.done()
            assert server.stored is not None
            assert 3 < server.stored["spec"]["leaseDurationSeconds"] <= LONGEST
            server.delay = lambda: 0.001
            await asyncio.sleep(60)
            assert server.stored["spec"]["leaseDurationSeconds"] == 3

    run(play())


def test_answers_that_are_slow_now_and_then_cost_no_second_lease() -> None:
    async def play() -> None:
        server = Server()
        first = candidate(server, "first")
        answers = itertools.cycle([3.0, 0.001, 0.001, 0.001])
        server.delay = lambda: next(answers) / 2
        await first.acquire()
        async with holding(first) as task:
            await task  # with a lease of 3 s, the first slow answer is too late
        await first.acquire()
        async with holding(first) as task:
            await asyncio.sleep(300)
            assert first.leads
            assert not task.done()

    run(play())


def test_after_an_outage_of_minutes_there_is_a_leader_within_seconds() -> None:
    async def play() -> None:
        server = Server()
        electors = [candidate(server, name) for name in ("first", "second")]

        async def live(elector: Elector) -> None:
            while True:
                await elector.acquire()
                await elector.hold()

        tasks = [asyncio.create_task(live(elector)) for elector in electors]
        await asyncio.sleep(10)
        for elector in electors:
            kube_of(elector).unreachable = True
        await asyncio.sleep(180)
        assert not any(elector.leads for elector in electors)
        for elector in electors:
            kube_of(elector).unreachable = False
        back = now()
        while not any(elector.leads for elector in electors):
            await asyncio.sleep(0.05)
            assert now() - back < 4
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    run(play())


class Fates:
    """Draws how long each way takes: mostly nothing, at times longer than a lease, or lost."""

    def __init__(self, seed: int, trouble: float) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._trouble = trouble

    def __call__(self) -> float:
        if self._random.random() > self._trouble:
            return self._random.uniform(0.0, 0.02)
        if self._random.random() < 0.2:
            raise Unreachable("lost")
        return self._random.uniform(0.0, 12.0)


async def lives(elector: Elector, fates: random.Random) -> None:
    """Stand for leader, lead, release or die, and again."""
    while True:
        await elector.acquire()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(fates.expovariate(1 / 20)):
                await elector.hold()
        if fates.random() < 0.5:
            await elector.release()
        await asyncio.sleep(fates.uniform(0, 2))


async def contest(seed: int, trouble: float, rates: list[float]) -> None:
    server = Server(Fates(seed, trouble))
    fates = random.Random(seed)  # noqa: S311 - no secret
    electors = [
        candidate(server, f"e{number}", rate=rate, offset=fates.uniform(-1e6, 1e6))
        for number, rate in enumerate(rates)
    ]
    tasks = [asyncio.create_task(lives(elector, fates)) for elector in electors]
    terms = set()
    for _ in range(4000):
        await asyncio.sleep(0.05)
        leaders = [elector.identity for elector in electors if elector.leads]
        assert len(leaders) <= 1, leaders
        terms.update(leaders)
    assert terms, "somebody led at some time"
    for task in tasks:
        assert not task.done(), task
        task.cancel()
    await asyncio.wait(tasks)


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])  # a seed can't be shrunk
@given(
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.05, 0.3]),
    st.lists(st.floats(0.95, 1.05), min_size=2, max_size=3),
)
def test_never_two_lead(seed: int, trouble: float, rates: list[float]) -> None:
    run(contest(seed, trouble, rates))
