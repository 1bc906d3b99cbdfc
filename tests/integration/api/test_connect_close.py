"""What ends a DevTools connection, and the close code that says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from driftstack_common.kube.errors import Unreachable
from driftstack_common.times import format_time, now
from tests.integration.api.door import Door, opened
from tests.integration.api.test_auth import known
from tests.integration.api.test_connect import check
from tests.integration.api.world import World
from tests.unit.api.polling import until

Client = aiohttp.ClientWebSocketResponse


async def closed(client: Client, seconds: float = 1.0) -> tuple[int | None, str]:
    """Return code and reason of a close that comes within this time."""
    started = time.monotonic()
    async with asyncio.timeout(10):
        message = await client.receive()
    assert message.type is aiohttp.WSMsgType.CLOSE, message
    assert time.monotonic() - started < seconds
    return message.data, message.extra or ""


@asynccontextmanager
async def connected(door: Door, session: dict[str, Any], key: str = "acme") -> AsyncIterator[Client]:
    """A connection that works."""
    async with await door.connect(session, key, autoclose=False) as client:
        await client.send_str("x")
        assert await client.receive_str() == "x"
        yield client


async def test_a_revoked_key(door: Door, world: World, session: dict[str, Any]) -> None:
    world.add_key("acme", "second", ["write"])
    await known(door, "second")
    async with connected(door, session) as other, connected(door, session, "second") as client:
        world.add_key("acme", "second", ["write"], revoked=True)
        assert await closed(client) == (4401, "This API key was revoked.")
        await other.send_str("still here")
        assert await other.receive_str() == "still here"
    await until(lambda: not world.agent.clients)


async def test_a_deleted_key(door: Door, world: World, session: dict[str, Any]) -> None:
    async with connected(door, session) as client:
        world.kube.remove("apikeys", "acct-acme", "acme")
        assert (await closed(client))[0] == 4401


async def test_a_key_that_expires(door: Door, world: World, session: dict[str, Any]) -> None:
    soon = format_time(now() + timedelta(seconds=1))
    world.add_key("acme", "brief", ["write"], expiresAt=soon)
    await known(door, "brief")
    async with connected(door, session, "brief") as client:
        assert await closed(client, 2.5) == (4401, "This API key has expired.")


async def test_a_key_that_loses_its_scope(door: Door, world: World, session: dict[str, Any]) -> None:
    world.add_key("acme", "second", ["write"])
    await known(door, "second")
    async with connected(door, session, "second") as client:
        world.add_key("acme", "second", ["read"])
        assert (await closed(client))[0] == 4403


async def test_a_suspended_account(door: Door, world: World, session: dict[str, Any]) -> None:
    async with connected(door, session) as client, connected(door, session) as second:
        world.add_account("acme", suspended=True)
        assert await closed(client) == (4403, "This account is suspended.")
        assert (await closed(second))[0] == 4403


async def test_a_key_revoked_while_the_watch_is_silent(world: World) -> None:
    async with opened(world, fresh_seconds=0.2) as door:
        session = await door.ready()
        async with connected(door, session) as client:
            world.kube.muted = True
            world.kube.blind()
            world.kube.fail("get", Unreachable("away"))
            await until(lambda: not door.app.state.services.caches.credentials_fresh)
            world.add_key("acme", "acme", ["account_owner"], revoked=True)
            # While nothing can be told, what is open stays open.
            await client.send_str("x")
            assert await client.receive_str() == "x"
            world.kube.fail("get", None)
            assert (await closed(client, 2))[0] == 4401


async def test_a_key_that_can_not_be_read_ends_its_own_connections_and_no_watch(world: World) -> None:
    async with opened(world, fresh_seconds=0.2) as door:
        session = await door.ready()
        async with connected(door, session) as client, connected(door, await door.ready()) as second:
            world.kube.muted = True
            world.kube.blind()
            key = world.kube.objects["apikeys", "acct-acme", "acme"]
            world.kube.put("apikeys", {**key, "spec": {**key["spec"], "scopes": "all"}})
            assert (await closed(client, 2))[0] == 4401
            assert (await closed(second, 2))[0] == 4401
            world.kube.put("apikeys", key)
            async with connected(door, session) as again:
                world.kube.put("apikeys", {**key, "spec": {**key["spec"], "revoked": True}})
                assert (await closed(again, 2))[0] == 4401


async def test_a_revocation_during_the_handshake(door: Door, world: World, session: dict[str, Any]) -> None:
    world.agent.hold.clear()
    connecting = asyncio.ensure_future(door.connect(session, autoclose=False))
    await until(lambda: world.agent.steps)
    world.kube.remove("apikeys", "acct-acme", "acme")
    await until(lambda: not door.app.state.services.caches.keys.find(world.keys["acme"].sha256))
    world.agent.hold.set()
    assert (await closed(await connecting))[0] == 4401


async def test_delete(door: Door, world: World, session: dict[str, Any]) -> None:
    world.operator.finish = False
    async with connected(door, session) as client, connected(door, session) as second:
        deleting = asyncio.ensure_future(door.call("DELETE", f"/v1/sessions/{session['id']}"))
        assert await closed(client) == (4410, "the session has ended")
        assert (await closed(second))[0] == 4410
        assert not deleting.done()
        world.operator.end("acct-acme", world.session(session["id"])["metadata"]["name"])
        assert (await deleting).status_code == 204


async def test_delete_during_the_handshake(door: Door, world: World, session: dict[str, Any]) -> None:
    world.agent.hold.clear()
    shaking = asyncio.ensure_future(door.shake(door.path(session), {"Authorization": door.bearer("acme")}))
    await until(lambda: world.agent.steps)
    assert (await door.call("DELETE", f"/v1/sessions/{session['id']}")).status_code == 204
    check(await shaking, 410, "session-destroyed")
    world.agent.hold.set()
    await until(lambda: not world.agent.clients)


@pytest.mark.parametrize(("phase", "code"), [("destroyed", 4410), ("errored", 4502)])
async def test_an_end_that_nobody_asked_for(
    door: Door, world: World, session: dict[str, Any], phase: str, code: int
) -> None:
    async with connected(door, session) as client:
        world.operator.end("acct-acme", world.session(session["id"])["metadata"]["name"], phase, "Reason")
        assert (await closed(client))[0] == code


@pytest.mark.parametrize(("phase", "code"), [("destroyed", 4410), ("errored", 4502), (None, 4502)])
async def test_an_agent_that_hangs_up(
    door: Door, world: World, session: dict[str, Any], phase: str | None, code: int
) -> None:
    async with connected(door, session) as client:
        world.agent.clients[0]._req.transport.abort()  # type: ignore[union-attr]
        if phase is not None:
            world.operator.end("acct-acme", world.session(session["id"])["metadata"]["name"], phase, "Reason")
        assert (await closed(client, 1 if phase else 4))[0] == code


@pytest.mark.parametrize("code", [1000, 1009, 4410, 4429, 4502])
async def test_the_agents_own_codes_come_through(
    door: Door, world: World, session: dict[str, Any], code: int
) -> None:
    async with connected(door, session) as client:
        closing = asyncio.ensure_future(world.agent.clients[0].close(code=code, message=b"why"))
        assert await closed(client) == (code, "why")
        await client.close()
        await closing
    await until(lambda: not door.app.state.services.tunnels._tunnels)


async def test_a_client_that_closes(door: Door, world: World, session: dict[str, Any]) -> None:
    async with connected(door, session) as client:
        agent = world.agent.clients[0]
        (relay,) = door.app.state.services.tunnels._tunnels
        assert await client.close(code=1000)
    await until(lambda: agent.closed)
    assert agent.close_code == 1000
    await until(lambda: not door.app.state.services.tunnels._watching)
    assert relay.code == 1000


async def test_a_client_that_vanishes(door: Door, world: World, session: dict[str, Any]) -> None:
    async with connected(door, session) as client:
        assert client._response.connection is not None
        client._response.connection.transport.abort()  # type: ignore[union-attr]
        await until(lambda: not world.agent.clients)
        await until(lambda: not door.app.state.services.tunnels._tunnels)


async def test_a_replica_that_shuts_down(world: World) -> None:
    async with opened(world) as door:
        stack = [await door.connect(await door.ready(), autoclose=False) for _ in range(2)]
        leaving = asyncio.get_running_loop().time()
    for client in stack:
        assert (await client.receive()).data == 1012
    assert asyncio.get_running_loop().time() - leaving < 5
