"""Rate limits at the facade: in one replica's memory, and shared through a real Redis that comes and goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from prometheus_client import REGISTRY

from driftstack_api.rate_limits import shared
from driftstack_cluster.certificates import Authority
from driftstack_common.errors import SettingsError
from tests.integration.api.redis_server import PASSWORD, RedisServer, binary
from tests.integration.api.test_auth import known
from tests.integration.api.test_problems import check
from tests.integration.api.world import Facade, World, facade
from tests.unit.api.polling import until

FEW = {"capacity": 10, "refillPerMinute": 1}
needs_redis = pytest.mark.skipif(binary() is None, reason="no redis-server or valkey-server: make redis")


def limited(**buckets: Any) -> dict[str, Any]:
    """Return the spec of an account with these buckets."""
    return {"overrides": {"rateLimits": buckets}}


async def calls(api: Facade, count: int, key: str = "few", path: str = "/v1/whoami") -> list[httpx2.Response]:
    return [await api.call("GET", path, key=key) for _ in range(count)]


def accepted(answers: list[httpx2.Response]) -> int:
    return sum(answer.status_code != 429 for answer in answers)


async def test_every_answer_to_a_known_caller_tells_the_limit(api: Facade, world: World) -> None:
    world.add_key("acme", "narrow", ["read:profiles"])
    await known(api, "narrow")
    for number, (method, path, key, status) in enumerate(
        [
            ("GET", "/v1/whoami", "acme", 200),
            ("GET", "/v1/sessions/ses_x", "acme", 404),
            ("POST", "/v1/sessions/ses_x/navigate", "acme", 400),
            ("GET", "/v1/sessions", "narrow", 403),
            ("GET", "/v1/sessions?limit=0", "acme", 400),
        ],
        1,
    ):
        answer = await api.call(method, path, key=key)
        assert answer.status_code == status
        assert answer.headers["X-RateLimit-Limit"] == "1800"
        assert 1800 - number <= int(answer.headers["X-RateLimit-Remaining"]) < 1800
        assert abs(int(answer.headers["X-RateLimit-Reset"]) - time.time()) < 3
        assert answer.headers["X-RateLimit-Bucket"] == "global"
    answer = await api.call("POST", "/v1/sessions")
    assert (answer.headers["X-RateLimit-Bucket"], answer.headers["X-RateLimit-Remaining"]) == (
        "sessions:create",
        "59",
    )


async def test_who_is_not_known_is_not_counted(api: Facade) -> None:
    for path, key in (("/v1/whoami", None), ("/healthz", "acme"), ("/openapi.json", "acme"), ("/nothing", "acme")):
        answer = await api.call("GET", path, key=key)
        assert not [name for name in answer.headers if name.lower().startswith("x-ratelimit")]


async def test_one_call_too_many(api: Facade, world: World) -> None:
    world.add_account("few", **limited(sessionsCreate={"capacity": 1, "refillPerMinute": 3}))
    await known(api, "few")
    await api.create(key="few")
    answer = await api.call("POST", "/v1/sessions", key="few")
    problem = check(answer, 429, "rate-limited")
    assert problem["retry_after_seconds"] == int(answer.headers["Retry-After"]) == 20
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    assert answer.headers["X-RateLimit-Bucket"] == "sessions:create"
    assert (await api.call("GET", "/v1/whoami", key="few")).status_code == 200
    assert (await api.call("POST", "/v1/sessions")).status_code == 201


async def test_refused_calls_are_counted_too(api: Facade, world: World) -> None:
    world.add_account("few", **limited(**{"global": FEW}))
    world.add_key("few", "narrow", ["read:profiles"])
    await known(api, "narrow")
    answers = await calls(api, 12, "narrow", "/v1/sessions")
    assert [answer.status_code for answer in answers] == [403] * 10 + [429] * 2
    assert REGISTRY.get_sample_value("driftstack_api_rate_limited_total", {"bucket": "global"}) >= 2


async def test_a_change_of_the_account_holds_at_once_and_fills_nothing(api: Facade, world: World) -> None:
    world.add_account("few", **limited(**{"global": FEW}))
    await known(api, "few")
    assert accepted(await calls(api, 12)) == 10
    world.add_account("few", **limited(**{"global": {"capacity": 15, "refillPerMinute": 6}}))
    accounts = api.app.state.services.caches.accounts
    await until(lambda: accounts.of_namespace("acct-few").spec.overrides.rate_limits.global_.capacity == 15)
    assert accepted(await calls(api, 12)) == 5


@asynccontextmanager
async def sharing(world: World, server: RedisServer) -> AsyncIterator[Facade]:
    """A facade that counts in Redis, if that answers."""
    async with facade(world, redis=server.folder) as api:
        yield api


async def connected(*facades: Facade) -> None:
    for api in facades:
        await until(lambda shared=api.app.state.services._shared: shared._buckets is not None)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    made = RedisServer(tmp_path / "redis")
    await made.start()
    yield made
    made.stop()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no broken Redis."""
    monkeypatch.setattr(shared, "ANSWER_SECONDS", 2.0)


@needs_redis
@pytest.mark.usefixtures("patient")
async def test_replicas_share_a_bucket(world: World, server: RedisServer) -> None:
    world.add_account("few", **limited(**{"global": FEW}))
    async with sharing(world, server) as one, sharing(world, server) as other:
        await connected(one, other)
        await known(one, "few")
        await known(other, "few")
        answers = await asyncio.gather(calls(one, 10), calls(other, 10))
        assert accepted([*answers[0], *answers[1]]) == 10
        assert min(accepted(some) for some in answers) > 0


@needs_redis
@pytest.mark.usefixtures("patient")
async def test_a_change_fills_no_shared_bucket(world: World, server: RedisServer) -> None:
    world.add_account("few", **limited(**{"global": FEW}))
    async with sharing(world, server) as one, sharing(world, server) as other:
        await connected(one, other)
        for api in (one, other):
            await known(api, "few")
        assert accepted(await calls(one, 5) + await calls(other, 7)) == 10
        world.add_account("few", **limited(**{"global": {"capacity": 15, "refillPerMinute": 6}}))
        for api in (one, other):
            accounts = api.app.state.services.caches.accounts
            await until(
                lambda accounts=accounts: (
                    accounts.of_namespace("acct-few").spec.overrides.rate_limits.global_.capacity == 15
                )
            )
        assert accepted(await calls(one, 6) + await calls(other, 6)) == 5


@needs_redis
@pytest.mark.usefixtures("patient")
async def test_redis_may_go_and_come_back(world: World, server: RedisServer) -> None:
    world.add_account("few", **limited(**{"global": FEW}))
    with structlog.testing.capture_logs() as logs:
        async with sharing(world, server) as api:
            await connected(api)
            await known(api, "few")
            assert accepted(await calls(api, 12)) == 10
            server.stop()
            assert accepted(await calls(api, 12)) == 10  # this replica's own bucket
            assert REGISTRY.get_sample_value("driftstack_api_rate_limits_shared") == 0
            await server.start()
            await connected(api)
            assert REGISTRY.get_sample_value("driftstack_api_rate_limits_shared") == 1
            assert accepted(await calls(api, 12)) == 10  # it came back empty
    told = [log["event"] for log in logs if "ate limits" in log["event"]]
    assert told.count("Redis doesn't answer: rate limits are per replica") == 1
    assert told.count("rate limits are shared by all replicas") == 2
    assert len(told) <= 4
    assert PASSWORD not in str(logs)


@needs_redis
async def test_a_frozen_redis_holds_up_one_round_of_calls(world: World, server: RedisServer) -> None:
    async with sharing(world, server) as api:
        await connected(api)
        server.freeze()
        started = time.monotonic()
        first = await asyncio.gather(*(api.call("GET", "/v1/whoami") for _ in range(20)))
        assert time.monotonic() - started >= shared.ANSWER_SECONDS
        assert {answer.status_code for answer in first} == {200}
        for _ in range(20):
            assert (await api.call("GET", "/v1/whoami")).status_code == 200
            assert api.app.state.services._shared._buckets is None  # so nobody waits
        server.thaw()
        await connected(api)


@needs_redis
async def test_a_facade_starts_without_its_redis(world: World, tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    with structlog.testing.capture_logs() as logs:
        async with sharing(world, server) as api:
            await until(lambda: [log for log in logs if "can't be reached" in log["event"]])
            assert (await api.call("GET", "/v1/whoami")).status_code == 200
            await server.start()
            await connected(api)
    server.stop()
    assert PASSWORD not in str(logs)


@needs_redis
async def test_a_password_may_change(world: World, server: RedisServer) -> None:
    async with sharing(world, server) as api:
        await connected(api)
        server.stop()
        await server.start("another")
        assert (await api.call("GET", "/v1/whoami")).status_code == 200
        assert api.app.state.services._shared._buckets is None
        url = server.folder / "url"
        url.write_text(url.read_text().replace(PASSWORD, "another"))
        await connected(api)


@needs_redis
@pytest.mark.usefixtures("patient")
async def test_redis_over_tls(world: World, tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", Authority(tmp_path / "authority"))
    await server.start()
    try:
        async with sharing(world, server) as api:
            await connected(api)
            assert (await api.call("GET", "/v1/whoami")).status_code == 200
            assert api.app.state.services._shared._buckets is not None
        (server.folder / "ca.crt").unlink()
        with structlog.testing.capture_logs() as logs:
            async with sharing(world, server) as api:
                await until(lambda: [log for log in logs if "can't be reached" in log["event"]])
    finally:
        server.stop()


@pytest.mark.parametrize("url", [None, "", "http://a", "redis://", "redis://h:port", "memcached://:a-password@h"])
def test_a_folder_that_names_no_redis(tmp_path: Path, url: str | None) -> None:
    if url is not None:
        (tmp_path / "url").write_text(url)
    with pytest.raises(SettingsError) as refused:
        shared.SharedBuckets(tmp_path)
    assert "a-password" not in str(refused.value)
