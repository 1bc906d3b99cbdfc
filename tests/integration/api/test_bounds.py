"""What one replica takes on at a time, and how long it waits for a body."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from tests.integration.api.test_client import served
from tests.integration.api.test_problems import check
from tests.integration.api.test_steps import navigate
from tests.integration.api.world import Facade, World
from tests.unit.api.polling import until


async def test_a_body_that_does_not_come_is_a_408(api: Facade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftstack_api.bodies.BODY_SECONDS", 0.1)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    answer = await api.call("POST", "/v1/sessions", content=slow())
    assert check(answer, 408, "bad-request")["detail"].endswith("within 0.1 s.")
    assert answer.headers["Connection"] == "close"


async def test_one_request_too_many_is_a_503(api: Facade, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await api.ready()
    monkeypatch.setattr("driftstack_api.context.MOST_REQUESTS", 1)
    world.agent.hold.clear()
    step = await navigate(api, session)
    await until(lambda: world.agent.running)
    answer = await api.call("GET", "/v1/whoami")
    check(answer, 503, "feature-unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert (await api.call("GET", "/readyz", key=None)).status_code == 200
    world.agent.hold.set()
    assert (await step).status_code == 200
    assert (await api.call("GET", "/v1/whoami")).status_code == 200


async def test_one_connection_too_many_is_told_so(api: Facade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftstack_api.wire.MOST_CONNECTIONS", 1)
    async with served(api.app) as url:
        port = int(url.rsplit(":", 1)[1])
        _, first = await asyncio.open_connection("127.0.0.1", port)
        reader, second = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(3):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"content-type: application/problem+json" in head
        assert json.loads(body)["type"].endswith("/feature-unavailable")
        first.close()
        second.close()
