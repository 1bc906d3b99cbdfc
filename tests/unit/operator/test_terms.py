"""Terms of office: begun with the lease, ended without it, handed over when told to stop."""

from __future__ import annotations

import asyncio

import pytest

from driftstack_operator.leadership.elector import Elector
from driftstack_operator.leadership.terms import IN_HAND_SECONDS, Terms
from tests.unit.operator.leases import Server, candidate, run


class Desk:
    """An office whose work takes `in_hand` seconds to come to an end; None never does by itself."""

    def __init__(self, elector: Elector, in_hand: float | None = 0.0) -> None:
        self.elector = elector
        self.in_hand = in_hand
        self.said: list[str] = []
        self.problem: Exception | None = None
        self._closed = asyncio.Event()

    def begin(self) -> None:
        self.say("begin")
        self._closed.clear()

    async def work(self) -> None:
        try:
            if self.problem is not None:
                raise self.problem
            await self._closed.wait()
            await asyncio.sleep(3600 if self.in_hand is None else self.in_hand)
            self.say("done")
        except asyncio.CancelledError:
            self.say("cut off")
            raise

    async def close(self) -> None:
        self.say("close")
        self._closed.set()

    async def end(self) -> None:
        self.say("end")

    def say(self, word: str) -> None:
        self.said.append(word if self.elector.leads else f"{word} without lease")


async def in_office(desk: Desk, stop: asyncio.Event) -> asyncio.Task[None]:
    task = asyncio.create_task(Terms(desk.elector, desk).run(stop))
    await asyncio.sleep(10)
    assert desk.elector.leads
    return task


@pytest.mark.parametrize(("in_hand", "outcome"), [(0.2, "done"), (None, "cut off")])
def test_told_to_stop_it_ends_what_is_in_hand_and_gives_the_lease_back(in_hand: float | None, outcome: str) -> None:
    async def play() -> None:
        server, stop = Server(), asyncio.Event()
        desk = Desk(candidate(server, "first"), in_hand)
        successor = candidate(server, "second")
        task = await in_office(desk, stop)
        waiting = asyncio.create_task(successor.acquire())
        await asyncio.sleep(1)
        told = asyncio.get_running_loop().time()
        stop.set()
        await task
        assert desk.said == ["begin", "close", outcome, "end"]
        await waiting
        assert asyncio.get_running_loop().time() - told < IN_HAND_SECONDS + 0.1

    run(play())


def test_a_lost_lease_cuts_off_and_the_same_process_may_lead_again() -> None:
    async def play() -> None:
        server, stop = Server(), asyncio.Event()
        desk = Desk(candidate(server, "first"))
        task = await in_office(desk, stop)
        server.store({"holderIdentity": "second", "leaseDurationSeconds": 3})
        await asyncio.sleep(2)
        assert desk.said == ["begin", "cut off without lease", "end without lease"]
        await asyncio.sleep(2)
        assert desk.elector.leads
        assert desk.said[3:] == ["begin"]
        stop.set()
        await task

    run(play())


def test_a_failed_office_gives_the_lease_back_and_says_why() -> None:
    async def play() -> None:
        server = Server()
        desk = Desk(candidate(server, "first"))
        desk.problem = ValueError("a bug")
        with pytest.raises(ValueError, match="a bug"):
            await Terms(desk.elector, desk).run(asyncio.Event())
        assert server.writes == ["first", ""]

    run(play())


def test_a_standby_that_is_told_to_stop_leaves_the_lease_alone() -> None:
    async def play() -> None:
        server, stop = Server(), asyncio.Event()
        leader = candidate(server, "first")
        await leader.acquire()
        holding = asyncio.create_task(leader.hold())
        desk = Desk(candidate(server, "second"))
        task = asyncio.create_task(Terms(desk.elector, desk).run(stop))
        await asyncio.sleep(10)
        stop.set()
        await task
        assert desk.said == []
        assert set(server.writes) == {"first"}
        holding.cancel()

    run(play())


def test_a_standby_that_is_told_to_stop_as_it_takes_the_lease_gives_it_back() -> None:
    """The lease is its own, and the answer that says so on its way."""

    async def play() -> None:
        server, stop = Server(lambda: 0.05), asyncio.Event()
        server.store({"leaseDurationSeconds": 1})  # released
        desk = Desk(candidate(server, "first"))
        task = asyncio.create_task(Terms(desk.elector, desk).run(stop))
        await asyncio.sleep(0.17)  # it has read the lease, and written it
        stop.set()
        await task
        assert desk.said == []
        assert not desk.elector.leads
        assert server.writes == ["", "first", ""]

    run(play())
