"""kopf as the operator runs it, against a server whose watches fail in every way.

What is seen must be what is there, within moments; kopf must never give up; and what kopf can't tell must be told
by its requests.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from driftstack_common.kinds import Account, Archetype, Pool, Session
from driftstack_common.kube.client import BINDING, NODE, POD, QUOTA, KubeClient
from driftstack_operator import streams
from driftstack_operator.intake import Intake
from driftstack_operator.settings import load_settings
from driftstack_operator.streams import Streams
from driftstack_operator.watching import WATCHED, Watching
from tests.integration.operator.fake_server import FakeServer
from tests.unit.api.polling import until

KINDS = (Session.KIND, Account.KIND, Archetype.KIND, Pool.KIND, POD, QUOTA, BINDING, NODE)


class Seen:
    """Stands where the intake does; notes which sessions there are, by what the events say."""

    def __init__(self) -> None:
        self.sessions: set[str] = set()

    def session(self, body: dict[str, Any], *, deleted: bool) -> None:
        (self.sessions.discard if deleted else self.sessions.add)(body["metadata"]["name"])

    def _ignore(self, body: dict[str, Any], *, deleted: bool) -> None:
        return None

    account = archetype = quota = binding = node = pod = pool = _ignore


class World:
    """A server, and kopf on it in a thread of its own: when it stops it cancels every task of its loop."""

    def __init__(self, port: int) -> None:
        self.server = FakeServer(KINDS)
        self.seen = Seen()
        self.relisted: list[str] = []
        self.streams = Streams(WATCHED, 1, self.relisted.append)
        self.http = TestServer(self.server.application(), port=port)
        self.ended = False
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._watch(),))

    async def start(self) -> None:
        await self.http.start_server()
        self._thread.start()

    async def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()
        await self.http.close()

    async def until(self, look: Callable[[], Any], seconds: float = 6.0) -> None:
        await until(look, seconds)
        assert not self.ended

    async def _watch(self) -> None:
        kube = KubeClient(Configuration(host=f"http://{self.http.host}:{self.http.port}"))
        intake = cast("Intake", self.seen)
        watching = Watching(kube, intake, load_settings(watch_seconds=1), lambda: None, self.streams)
        watching.start(ended=self._end)
        await self._stop.wait()
        await watching.stop()
        await kube.close()

    def _end(self) -> None:
        self.ended = True


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> AsyncIterator[World]:
    monkeypatch.setattr(streams, "GRACE", 0.3)
    world = World(unused_tcp_port)
    world.server.put("browsersessions", "one")
    await world.start()
    try:
        await world.until(lambda: world.seen.sessions == {"one"})
        yield world
    finally:
        await world.stop()


async def test_streams_that_end_as_asked_are_taken_up_where_they_ended(world: World) -> None:
    await world.until(lambda: len(world.server.asked("browsersessions", "watch")) >= 3)
    world.server.put("browsersessions", "two")
    await world.until(lambda: world.seen.sessions == {"one", "two"})
    world.server.drop("browsersessions", "one")
    await world.until(lambda: world.seen.sessions == {"two"})
    assert len(world.server.asked("browsersessions", "list")) == 1
    assert world.streams.stale() == []
    assert all(world.streams.age(kind) < 3 for kind in WATCHED)


async def test_silent_stream_is_cut_and_misses_nothing(world: World) -> None:
    world.server.silent = True
    world.server.put("browsersessions", "two")
    world.server.drop("browsersessions", "one")
    await world.until(lambda: world.streams.interruptions("browsersessions") > 0)
    world.server.silent = False
    await world.until(lambda: world.seen.sessions == {"two"})
    assert world.relisted.count("browsersessions") == 1


async def test_expired_version_is_told(world: World) -> None:
    world.server.drop("browsersessions", "one")
    world.server.expire()
    await world.until(lambda: world.relisted.count("browsersessions") == 2)


@pytest.mark.parametrize("status", [500, 503, 429, 403])
async def test_kopf_never_gives_up(world: World, status: int) -> None:
    world.server.failing = status
    before = len(world.server.asked("pods", "watch"))
    await world.until(lambda: len(world.server.asked("pods", "watch")) > before + 4)
    world.server.put("browsersessions", "two")
    world.server.failing = 0
    await world.until(lambda: world.seen.sessions == {"one", "two"}, seconds=2.5)


async def test_server_that_is_away_is_asked_again_soon(world: World) -> None:
    port = world.http.port
    await world.http.close()
    await world.until(lambda: world.streams.interruptions("browsersessions") > 2)
    world.server.put("browsersessions", "two")
    world.http = TestServer(world.server.application(), port=port)
    await world.http.start_server()
    await world.until(lambda: world.seen.sessions == {"one", "two"}, seconds=2.5)


async def test_streams_that_end_at_once_are_not_hammered(world: World) -> None:
    world.server.hasty = True
    before = len(world.server.asked("pods", "watch"))
    await asyncio.sleep(1.5)
    assert len(world.server.asked("pods", "watch")) - before <= 8
