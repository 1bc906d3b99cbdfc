"""What kopf's requests tell: proofs, interruptions, new lists, and a kopf that no longer asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import aiohttp
import pytest
from yarl import URL

from driftstack_operator import streams
from driftstack_operator.health import Health
from driftstack_operator.metrics import Metrics
from driftstack_operator.streams import Streams

BASE = "https://10.96.0.1/api/v1/namespaces/driftstack-browsers"


class Request:
    """The part of aiohttp's that is read."""

    def __init__(self, url: str) -> None:
        self.url = URL(url)


class Response:
    """A response that is open until it ends or is closed."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.closed = False
        self.content = self
        self.callbacks: list[Callable[[], None]] = []

    def on_eof(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def end(self) -> None:
        """The server ends the stream."""
        self.closed = True
        for callback in self.callbacks:
            callback()

    def close(self) -> None:
        self.closed = True


class Clock:
    """Monotonic time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(streams, "time", clock)
    return clock


@pytest.fixture
def relisted() -> list[str]:
    return []


@pytest.fixture
def seen(clock: Clock, relisted: list[str]) -> Streams:
    seen = Streams(["pods", "nodes"], 3, relisted.append)
    seen.begin()
    clock.now += 1
    return seen


async def ask(seen: Streams, url: str, outcome: Response | Exception) -> Response:
    async def handler(_: Any) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return cast("Response", await seen.observe(cast("aiohttp.ClientRequest", Request(url)), handler))


async def test_stream_that_ends_as_asked_proves_its_watch_alone(seen: Streams, clock: Clock) -> None:
    response = await ask(seen, f"{BASE}/pods?watch=true", Response())
    clock.now += 3
    assert (seen.age("pods"), seen.age("nodes")) == (4, 4)
    response.end()
    assert (seen.age("pods"), seen.age("nodes")) == (0, 4)
    assert seen.interruptions("pods") == 0


async def test_end_before_its_time_proves_nothing(seen: Streams, clock: Clock) -> None:
    response = await ask(seen, f"{BASE}/pods?watch=true", Response())
    clock.now += 2
    response.end()
    assert seen.age("pods") == 3
    assert seen.interruptions("pods") == 0


async def test_late_end_proves_no_more_than_what_was_asked(seen: Streams, clock: Clock) -> None:
    response = await ask(seen, f"{BASE}/pods?watch=true", Response())
    clock.now += 4.5
    response.end()
    assert seen.age("pods") == 1.5


async def test_silent_stream_is_cut(
    seen: Streams, clock: Clock, monkeypatch: pytest.MonkeyPatch, relisted: list[str]
) -> None:
    monkeypatch.setattr(streams, "GRACE", 0.0)
    seen = Streams(["pods"], 0.01, relisted.append)
    seen.begin()
    clock.now += 1
    response = await ask(seen, f"{BASE}/pods?watch=true", Response())
    await asyncio.sleep(0.05)
    assert response.closed
    assert seen.age("pods") == 1
    assert seen.interruptions("pods") == 1


async def test_ended_stream_is_not_cut_later(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "GRACE", 0.0)
    seen = Streams(["pods"], 0.01, lambda _: None)
    clock.now += 1
    (await ask(seen, f"{BASE}/pods?watch=true", Response())).end()
    await asyncio.sleep(0.03)
    assert seen.interruptions("pods") == 0


@pytest.mark.parametrize("error", [aiohttp.ClientConnectionError("refused"), TimeoutError(), OSError()])
async def test_failed_request_is_an_interruption_and_goes_on_to_kopf(seen: Streams, error: Exception) -> None:
    with pytest.raises(type(error)):
        await ask(seen, f"{BASE}/pods?watch=true", error)
    assert seen.interruptions("pods") == 1
    assert seen.age("pods") == 1


async def test_stream_whose_connection_is_lost_is_an_interruption(seen: Streams, clock: Clock) -> None:
    """Kopf alone is told; it asks again."""
    await ask(seen, f"{BASE}/pods?watch=true", Response())
    clock.now += 1
    (await ask(seen, f"{BASE}/pods?watch=true", Response())).end()
    clock.now += 1
    await ask(seen, f"{BASE}/pods?watch=true", Response())
    assert (seen.interruptions("pods"), seen.age("pods")) == (1, 3)


async def test_refused_watch_is_no_proof(seen: Streams) -> None:
    response = await ask(seen, f"{BASE}/pods?watch=true", Response(429))
    response.end()
    assert (seen.interruptions("pods"), seen.age("pods")) == (1, 1)


async def test_list_is_told(seen: Streams, relisted: list[str], clock: Clock) -> None:
    await ask(seen, f"{BASE}/pods?labelSelector=x", Response())
    clock.now += 1
    await ask(seen, f"{BASE}/pods?labelSelector=x", Response(500))
    await ask(seen, "https://10.96.0.1/apis/driftstack.dev/v1", Response())
    assert relisted == ["pods"]


async def test_kind_is_not_asked_for_twice_in_a_moment(
    seen: Streams, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(streams.asyncio, "sleep", sleep)
    await ask(seen, f"{BASE}/pods?watch=true", Response())
    clock.now += 0.125
    await ask(seen, f"{BASE}/pods?watch=true", Response())
    assert slept == [0.125]


async def test_pages_of_a_list_follow_at_once_and_are_one_list(
    seen: Streams, relisted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sleep(seconds: float) -> None:
        raise AssertionError(seconds)

    monkeypatch.setattr(streams.asyncio, "sleep", sleep)
    await ask(seen, f"{BASE}/pods?limit=100", Response())
    await ask(seen, f"{BASE}/pods?limit=100&continue=x", Response())
    await ask(seen, f"{BASE}/pods?limit=100&continue=y", Response())
    assert relisted == ["pods"]


async def test_list_that_expires_midway_is_begun_anew(seen: Streams) -> None:
    response = Response(410)
    with pytest.raises(aiohttp.ClientPayloadError):  # the one error after which kopf lists again at once
        await ask(seen, f"{BASE}/pods?limit=100&continue=x", response)
    assert response.closed
    assert seen.interruptions("pods") == 1


async def test_kopf_that_no_longer_asks_needs_a_new_process(seen: Streams, clock: Clock) -> None:
    health = Health(seen)
    clock.now += 29
    await ask(seen, f"{BASE}/pods?watch=true", Response())
    with pytest.raises(TimeoutError):  # an attempt is enough: the API server may be away
        await ask(seen, "https://10.96.0.1/api/v1/nodes?watch=true", TimeoutError())
    clock.now += 32
    assert health.problems() == []
    clock.now += 2
    assert health.problems() == ["pods are not watched any more", "nodes are not watched any more"]


async def test_watch_without_proof_is_stale_ten_seconds_later(seen: Streams, clock: Clock) -> None:
    response = await ask(seen, f"{BASE}/pods?watch=true", Response())
    clock.now += 3
    response.end()
    clock.now += 6
    assert seen.stale() == []
    clock.now += 0.5
    assert seen.stale() == ["nodes"]


async def test_ages_are_metrics(seen: Streams) -> None:
    metrics = Metrics()
    metrics.show_streams(seen)
    assert metrics.registry.get_sample_value("driftstack_watch_age_seconds", {"kind": "pods"}) == 1
    assert metrics.registry.get_sample_value("driftstack_watch_interruptions", {"kind": "pods"}) == 0


async def test_kind_that_is_not_served_is_asked_for_again(seen: Streams) -> None:
    """Kopf ends for good when it is told 404, but a CRD can come back."""
    response = Response(404)
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(seen, f"{BASE}/pods?watch=true", response)
    assert response.closed
    assert seen.interruptions("pods") == 1
