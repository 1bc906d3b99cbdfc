"""The published client, unchanged, against the facade on loopback."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from driftstack import AsyncDriftstack, Driftstack
from driftstack._generated.models import CreateWebhookRequest, InteractRequest
from driftstack.errors import (
    ConcurrencyLimitError,
    ConflictError,
    DriverError,
    FeatureUnavailableError,
    InvalidKeyError,
    NotFoundError,
    RateLimitError,
    SessionDestroyedError,
    ValidationError,
)
from driftstack.retry import RetryConfig
from fastapi import FastAPI

from driftstack_api.wire import http_protocol
from tests.integration.api.world import PNG, World, application
from tests.unit.api.polling import until

BASE = "https://errors.driftstack.dev/"


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Serve a started app with uvicorn, as in production but for its lifespan; yield the base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=http_protocol(BASE), ws="none", lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()


async def test_the_published_client_works_unchanged(world: World) -> None:
    async with application(world) as app, served(app) as url:
        await asyncio.to_thread(_drive, url, world)


def _drive(url: str, world: World) -> None:
    """Every sessions call, by the synchronous client."""
    with Driftstack(world.keys["acme"].plaintext, base_url=url) as client:
        assert client.account.whoami()["tier"] == "api_builder"
        created = client.sessions.create({"label": "from the client", "metadata": {"n": 1}})
        assert created.status == "creating"
        assert client.sessions.get(created.id).id == created.id
        page = client.sessions.navigate(created.id, {"url": "http://a.test/", "timeout_ms": 5000})
        assert (page.status, str(page.final_url)) == (200, "https://a.test/")
        blank = client.sessions.navigate(created.id, {"url": "about:blank"})
        assert str(blank.url) == "about:blank"
        captured = client.sessions.capture(created.id, {"kind": "screenshot"})
        assert base64.b64decode(captured.data) == PNG
        _act(client, created.id)
        _not_yet(client, created.id)
        others = [client.sessions.create().id for _ in range(2)]
        with pytest.raises(ConcurrencyLimitError) as full:
            client.sessions.create()
        assert (full.value.current_sessions, full.value.limit) == (3, 3)
        assert {item.id for item in client.sessions.iterate(limit=1)} == {created.id, *others}
        client.sessions.destroy(created.id)
        client.sessions.destroy(created.id)
        ended = client.sessions.get(created.id)
        assert ended.status == "destroyed"
        assert ended.destroyed_at is not None
        assert len(client.sessions.list({"limit": 2}).data) == 2
        _fail(client, created.id)
    with (
        Driftstack("ds_live_" + "x" * 43, base_url=url) as stranger,
        pytest.raises(InvalidKeyError),
    ):
        stranger.sessions.list()


async def test_every_webhook_call_of_the_client(world: World) -> None:
    async with application(world) as app, served(app) as url:
        await asyncio.to_thread(_hook, url, world)
        async with AsyncDriftstack(world.keys["acme"].plaintext, base_url=url) as client:
            await _hook_async(client)


def _hook(url: str, world: World) -> None:
    request = CreateWebhookRequest(url="https://hooks.example.com/x", events=["session.failed"])  # type: ignore[arg-type]
    with Driftstack(world.keys["acme"].plaintext, base_url=url) as client:
        made = client.webhooks.create(request)
        assert made.secret.startswith(made.secret_prefix)
        assert str(made.url) == "https://hooks.example.com/x"
        assert client.webhooks.get(made.id).created_at == made.created_at
        assert [one.id for one in client.webhooks.list().data] == [made.id]
        changed = client.webhooks.update(made.id, {"events": ["session.completed"], "active": False})
        assert (changed.events, changed.active) == (["session.completed"], False)
        rotated = client.webhooks.rotate_secret(made.id)
        assert rotated["prev_secret_prefix"] == made.secret_prefix
        assert client.webhooks.get(made.id).rotation_grace_expires_at is not None
        sent = [client.webhooks.send_test(made.id) for _ in range(3)]
        page = client.webhooks.list_deliveries(made.id, {"limit": 2, "status": "pending"})
        assert (len(page.data), page.has_more) == (2, True)
        walked = list(client.webhooks.iterate_deliveries(made.id, limit=2))
        assert {one.id for one in walked} == {one["delivery_id"] for one in sent}
        assert {str(one.event_id) for one in walked} == {one["event_id"] for one in sent}
        assert client.webhooks.replay_delivery(walked[0].id).status == "pending"
        for _ in range(2):
            client.webhooks.delete(made.id)
        assert client.webhooks.get(made.id).disabled_at is not None
        with pytest.raises(ConflictError):
            client.webhooks.update(made.id, {"active": True})
        with pytest.raises(ValidationError) as wrong:
            client.webhooks.create({"url": "https://127.0.0.1/", "events": ["session.failed"]})
        assert wrong.value.problem["issues"][0]["path"] == "url"
        with pytest.raises(NotFoundError):
            client.webhooks.get("whk_9d2f0c1e-5b7a-4f0e-8a3d-2c6b1e4f7a90")


async def _hook_async(client: AsyncDriftstack) -> None:
    body = {"url": "https://hooks.example.com/x", "events": ["api_key.revoked"], "description": "to security"}
    made = await client.webhooks.create(body)
    assert (await client.webhooks.get(made.id)).description == "to security"
    assert made.id in {one.id for one in (await client.webhooks.list()).data}
    assert (await client.webhooks.update(made.id, {"description": None})).description is None
    assert (await client.webhooks.rotate_secret(made.id))["secret"] != made.secret
    sent = await client.webhooks.send_test(made.id)
    assert (await client.webhooks.list_deliveries(made.id)).data[0].id == sent["delivery_id"]
    assert [one.id async for one in client.webhooks.iterate_deliveries(made.id)] == [sent["delivery_id"]]
    assert (await client.webhooks.replay_delivery(sent["delivery_id"])).attempts == 0
    await client.webhooks.delete(made.id)


async def test_what_the_client_reads_of_its_account(world: World) -> None:
    few = {"capacity": 3, "refillPerMinute": 3}
    world.add_account("few", overrides={"rateLimits": {"global": few}})
    async with application(world) as app, served(app) as url:
        await until(lambda: app.state.services.caches.keys.find(world.keys["few"].sha256))
        await asyncio.to_thread(_read_account, url, world.keys["few"].plaintext)


def _read_account(url: str, key: str) -> None:
    with Driftstack(key, base_url=url, retry=RetryConfig(enabled=False)) as client:
        with pytest.warns(DeprecationWarning, match="whoami"):
            assert client.account.me()["profile_cap"] == 100
        assert client.account.whoami()["scopes"] == ["account_owner"]
        buckets = {bucket["bucket_key"]: bucket for bucket in client.account.rate_limits()["buckets"]}
        assert (buckets["global"]["capacity"], buckets["global"]["refill_per_second"]) == (3, 0.05)
        with pytest.raises(RateLimitError) as soon:
            client.account.whoami()
        assert soon.value.retry_after_seconds == 20


def _act(client: Driftstack, session: str) -> None:
    for action in (
        {"kind": "tap", "selector": "#b"},
        {"kind": "type", "selector": "#f", "text": "x", "sensitive": True},
        {"kind": "scroll", "delta_y": 10},
        {"kind": "press", "key": "Enter"},
    ):
        assert client.sessions.interact(session, {"action": action, "timeout_ms": 5000}).ok is True
        # As a model the client fills in its own defaults.
        request = InteractRequest.model_validate({"action": action})
        assert client.sessions.interact(session, request).duration_ms == 3
    assert client.sessions.wait(session, {"condition": {"kind": "time", "ms": 1}}).satisfied is False
    extraction = {"name": "title", "selector": "h1", "type": "text"}
    assert client.sessions.extract(session, {"extractions": [extraction]}).value["title"] == "A page"
    state = client.sessions.get_state(session)
    assert (str(state.url), state.title) == ("http://a.test/", "A page")
    assert (state.cookies[0]["name"], state.local_storage) == ("a", {"k": "v"})
    assert state.page_state is not None
    assert state.page_state.error is not None
    assert (state.page_state.state, state.page_state.error.http_status) == ("errored", 404)


def _not_yet(client: Driftstack, session: str) -> None:
    with pytest.raises(FeatureUnavailableError):
        client.sessions.search(session, {"query": "x"})
    with pytest.raises(FeatureUnavailableError):
        client.sessions.login(session, {"username": "x", "password": "y"})


def _fail(client: Driftstack, ended: str) -> None:
    with pytest.raises(SessionDestroyedError):
        client.sessions.navigate(ended, {"url": "http://a.test/"})
    with pytest.raises(NotFoundError):
        client.sessions.get("ses_9d2f0c1e-5b7a-4f0e-8a3d-2c6b1e4f7a90")
    with pytest.raises(ValidationError) as wrong:
        client.sessions.create({"label": "x" * 121})
    assert wrong.value.problem["issues"][0]["path"] == "label"


async def test_the_asynchronous_client_and_a_failed_page(world: World) -> None:
    async with (
        application(world) as app,
        served(app) as url,
        AsyncDriftstack(world.keys["acme"].plaintext, base_url=url) as client,
    ):
        created = await client.sessions.create()
        world.agent.refuse(502, "page-failed", "net::ERR_CONNECTION_REFUSED")
        with pytest.raises(DriverError):
            await client.sessions.navigate(created.id, {"url": "http://dead.test/"})
        assert (await client.sessions.get(created.id)).status == "ready"
        await client.sessions.destroy(created.id)
