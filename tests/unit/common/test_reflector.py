from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from driftstack_common.kinds import Session
from driftstack_common.kube.errors import Forbidden, Unreachable
from driftstack_common.kube.reflector import Reflector, Signals, Timing
from tests.unit.api.fake_kube import FakeKube
from tests.unit.api.polling import until

PLURAL = "browsersessions"
FAST = Timing(page=2, watch_seconds=1, silence_seconds=0.2, backoff_first=0.005, backoff_most=0.02)


class Seen:
    """Records what a reflector reports."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.removed: list[str] = []

    def on_stored(self, old: Session | None, new: Session) -> None:
        if new.metadata.name == "poison":
            raise ValueError("a reader that can't stand this one")
        self.stored.append(("~" if old else "+") + new.metadata.name)

    def on_removed(self, old: Session) -> None:
        self.removed.append(old.metadata.name)


def body(name: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "acct-a"}, "spec": {}, "status": status}


@asynccontextmanager
async def running(kube: FakeKube, *, forgets: bool = False) -> AsyncIterator[tuple[Reflector[Session], Seen]]:
    seen = Seen()
    reflector = Reflector(
        kube, Session, stored=seen.on_stored, removed=seen.on_removed, forgets=forgets, timing=FAST
    )
    task = asyncio.create_task(reflector.run())
    try:
        yield reflector, seen
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def test_lists_in_pages_then_follows_the_watch() -> None:
    kube = FakeKube()
    for name in "abcde":
        kube.put(PLURAL, body(name))
    async with running(kube) as (reflector, seen):
        assert not reflector.synced
        assert reflector.age == float("inf")
        await until(lambda: reflector.synced)
        assert seen.stored == ["+a", "+b", "+c", "+d", "+e"]
        assert kube.calls.count(("list", PLURAL)) == 3
        kube.put(PLURAL, body("f"))
        kube.put(PLURAL, body("a", phase="ready"))
        kube.remove(PLURAL, "acct-a", "b")
        await until(lambda: seen.removed == ["b"])
        assert seen.stored[5:] == ["+f", "~a"]
        assert reflector.objects["acct-a", "a"].status.phase == "ready"


async def test_a_lost_place_means_a_new_list_that_reports_what_vanished() -> None:
    kube = FakeKube()
    for name in "abc":
        kube.put(PLURAL, body(name))
    async with running(kube) as (reflector, seen):
        await until(lambda: reflector.synced)
        kube.remove(PLURAL, "acct-a", "b", quietly=True)
        kube.cut()
        await until(lambda: seen.removed == ["b"])
        assert seen.stored == ["+a", "+b", "+c"], "what did not change is not reported again"
        assert reflector.lists >= 2


async def test_expired_in_the_stream_means_a_new_list() -> None:
    kube = FakeKube()
    kube.watch_seconds = 0.3
    kube.put(PLURAL, body("a"))
    async with running(kube) as (reflector, seen):
        await until(lambda: reflector.synced)
        # Nothing breaks; but where the next watch wants to go on from is already forgotten.
        kube._version += 5
        kube._oldest = kube._version
        kube.remove(PLURAL, "acct-a", "a", quietly=True)
        await until(lambda: seen.removed == ["a"])
        assert reflector.lists == 2


async def test_a_name_used_again_between_lists_is_a_removal_and_a_new_object() -> None:
    kube = FakeKube()
    kube.put(PLURAL, body("a"))
    async with running(kube) as (reflector, seen):
        await until(lambda: reflector.synced)
        first = reflector.objects["acct-a", "a"].uid
        kube.remove(PLURAL, "acct-a", "a", quietly=True)
        kube.cut()
        kube.put(PLURAL, body("a"))
        await until(lambda: len(seen.stored) == 2)
        assert seen.removed == ["a"]
        assert seen.stored == ["+a", "+a"]
        assert reflector.objects["acct-a", "a"].uid != first


async def test_an_object_that_cannot_be_read_stops_nothing() -> None:
    kube = FakeKube()
    kube.put(PLURAL, body("odd", step="many"))
    kube.put(PLURAL, body("poison"))
    kube.put(PLURAL, body("good"))
    async with running(kube) as (reflector, seen):
        await until(lambda: reflector.synced)
        assert seen.stored == ["+good"]
        assert reflector.undecodable == 2
        kube.put(PLURAL, body("good", phase="nonsense"))
        kube.put(PLURAL, body("later"))
        await until(lambda: "+later" in seen.stored)
        assert reflector.objects["acct-a", "good"].status.phase == "creating", "the last readable version stays"
        assert reflector.undecodable == 3


async def test_what_can_no_longer_be_read_is_forgotten_where_that_is_asked_for() -> None:
    kube = FakeKube()
    kube.put(PLURAL, body("good"))
    async with running(kube, forgets=True) as (reflector, seen):
        await until(lambda: seen.stored == ["+good"])
        kube.put(PLURAL, body("good", phase="nonsense"))
        await until(lambda: seen.removed)
        assert reflector.objects == {}
        kube.put(PLURAL, body("good", phase="ready"))
        await until(lambda: seen.stored == ["+good", "+good"])


async def test_streams_that_end_as_asked_keep_the_copy_fresh_and_cost_no_list() -> None:
    kube = FakeKube()
    async with running(kube) as (reflector, _):
        await until(lambda: reflector.synced)
        oldest = 0.0
        while kube.calls.count(("watch", PLURAL)) < 3:
            oldest = max(oldest, reflector.age)
            await asyncio.sleep(0.001)
        assert reflector.lists == 1
        assert 0.8 < oldest < 1.5


async def test_neither_events_nor_early_ends_prove_anything() -> None:
    kube = FakeKube()
    kube.watch_seconds = 0.3
    async with running(kube) as (reflector, seen):
        await until(lambda: kube.calls.count(("watch", PLURAL)) >= 3)
        kube.put(PLURAL, body("a"))
        await until(lambda: seen.stored == ["+a"])
        assert reflector.lists == 1
        assert reflector.age > 0.6


async def test_an_end_that_comes_late_proves_no_more_than_what_was_asked() -> None:
    kube = FakeKube()
    kube.watch_seconds = 1.6
    async with running(kube) as (reflector, _):
        await until(lambda: kube.calls.count(("watch", PLURAL)) == 2)
        assert reflector.lists == 1
        assert 0.6 < reflector.age < 1.5


async def test_an_answer_that_makes_no_sense_means_a_new_list() -> None:
    kube = FakeKube()
    kube.nonsense = [[], {"type": "MODIFIED", "object": {"metadata": {}}}, {"type": "ADDED"}]
    async with running(kube) as (reflector, seen):
        await until(lambda: not kube.nonsense)
        kube.put(PLURAL, body("a"))
        await until(lambda: seen.stored == ["+a"])
        assert reflector.lists == 4


async def test_an_error_in_the_stream_means_a_new_list() -> None:
    kube = FakeKube()
    kube.nonsense = [{"type": "ERROR", "object": {"code": 500, "reason": "InternalError", "message": "etcd"}}]
    async with running(kube) as (reflector, _):
        await until(lambda: reflector.lists == 2)


async def test_a_silent_stream_is_noticed_and_replaced() -> None:
    kube = FakeKube()
    async with running(kube) as (reflector, seen):
        await until(lambda: kube.calls.count(("watch", PLURAL)) == 1)
        kube.muted = True
        kube.put(PLURAL, body("unheard"))
        await until(lambda: reflector.lists >= 2)
        assert seen.stored == ["+unheard"]


async def test_age_grows_while_the_server_is_away() -> None:
    kube = FakeKube()
    async with running(kube) as (reflector, seen):
        await until(lambda: reflector.synced)
        kube.fail("list", Unreachable("away"))
        kube.fail("watch", Unreachable("away"))
        kube.cut()
        await until(lambda: reflector.age > 0.2)
        assert reflector.synced, "what was known can still be read"
        kube.failures.clear()
        kube.put(PLURAL, body("after"))
        await until(lambda: seen.stored == ["+after"])
        assert reflector.age < 0.2


async def test_streams_that_end_at_once_are_not_hammered() -> None:
    kube = FakeKube()
    kube.watch_seconds = 0.0001
    async with running(kube) as (reflector, _):
        await until(lambda: reflector.lists >= 3)
        assert kube.calls.count(("watch", PLURAL)) <= reflector.lists


async def test_a_refused_watch_backs_off() -> None:
    kube = FakeKube()
    kube.fail("watch", Forbidden("no", status=403))
    async with running(kube) as (reflector, _):
        await until(lambda: reflector.lists >= 3)
        assert reflector.synced


def test_backoff_doubles_up_to_its_bound_and_is_jittered() -> None:
    timing = Timing(backoff_first=0.1, backoff_most=10)
    for failures, most in ((1, 0.1), (2, 0.2), (5, 1.6), (8, 10), (5000, 10)):
        delays = {timing.backoff(failures) for _ in range(50)}
        assert len(delays) > 1
        assert all(most / 2 <= delay <= most for delay in delays)


async def test_signals_wake_only_their_own_key() -> None:
    signals = Signals()
    checks: list[str] = []
    values = {"a": False, "b": False}

    def check(key: str) -> Callable[[], bool]:
        def predicate() -> bool:
            checks.append(key)
            return values[key]

        return predicate

    a = asyncio.create_task(signals.wait_for("a", check("a"), 5))
    b = asyncio.create_task(signals.wait_for("b", check("b"), 0.05))
    await asyncio.sleep(0)
    values["a"] = True
    signals.notify("a")
    assert await a is True
    assert await b is False
    assert checks.count("a") == 2
    assert signals._waiting == {}


async def test_signals_return_at_once_when_it_is_already_true() -> None:
    assert await Signals().wait_for("a", lambda: True, 0) is True
    assert await Signals().wait_for("a", lambda: False, 0) is False
