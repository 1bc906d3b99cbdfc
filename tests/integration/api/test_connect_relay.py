"""What passes through the DevTools door: everything, in order, and never more at once than a small buffer holds."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
from typing import Any

import aiohttp

from driftstack_api.devtools.relay import HIGH_WATER, Relay
from tests.integration.api.door import HANDSHAKE, Door
from tests.integration.api.world import World
from tests.unit.api.polling import until

MIB = 1024 * 1024
READ = 256 * 1024
"""Most bytes that the loop reads at a time."""


class Raw:
    """A client that speaks WebSocket by hand, and reads when it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, door: Door, session: dict[str, Any]) -> Raw:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        plain.connect(("127.0.0.1", door.port))
        reader, writer = await asyncio.open_connection(sock=plain, limit=1024)
        headers = {
            "Host": "x",
            **HANDSHAKE,
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Authorization": door.bearer("acme"),
        }
        lines = [f"GET {door.path(session)} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert b"x-request-id: " in head
        return cls(reader, writer)

    def send(self, opcode: int, length: int) -> None:
        """Send a masked frame of zeros."""
        size = bytes((0x80 | length,)) if length < 126 else b"\xff" + length.to_bytes(8, "big")
        self.writer.write(bytes((0x80 | opcode,)) + size + bytes(4) + bytes(length))

    async def rest(self) -> bytes:
        """Return what still comes until the connection ends."""
        read = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := await self.reader.read(65536):
                read += chunk
        return read


def relay_of(door: Door) -> Relay:
    """Return the only open connection's relay."""
    (relay,) = door.app.state.services.tunnels._tunnels
    assert isinstance(relay, Relay)
    return relay


def waiting(door: Door) -> tuple[int, int]:
    """Return how many bytes wait in the facade for the client, and for the agent."""
    relay = relay_of(door)
    sides = relay.client._transport, relay.agent._transport
    assert sides[0] is not None
    assert sides[1] is not None
    return sides[0].get_write_buffer_size(), sides[1].get_write_buffer_size()


async def standstill(door: Door) -> tuple[int, int]:
    """Wait until nothing moves any more; return how much has passed, from the client and to it."""
    relay, still, seen = relay_of(door), 0, (-1, -1)

    def moved() -> bool:
        nonlocal still, seen
        now = relay.received, relay.sent
        still, seen = (still + 1 if now == seen else 0), now
        return still > 200

    await until(moved, 20)
    return seen


async def test_64_mib_both_ways(door: Door, session: dict[str, Any]) -> None:
    large = "x" * (64 * MIB)
    async with await door.connect(session) as client:
        await client.send_str(large)
        async with asyncio.timeout(60):
            assert await client.receive_str() == large


async def test_messages_of_several_clients_don_t_mix(door: Door, session: dict[str, Any]) -> None:
    clients = [await door.connect(session) for _ in range(4)]

    async def talk(client: aiohttp.ClientWebSocketResponse, name: str) -> None:
        for number in range(100):
            await client.send_str(f"{name} {number} {'.' * number * 50}")
        for number in range(100):
            assert await client.receive_str() == f"{name} {number} {'.' * number * 50}"
        await client.close()

    await asyncio.gather(*(talk(client, str(name)) for name, client in enumerate(clients)))


async def test_a_client_that_does_not_read(door: Door, world: World, session: dict[str, Any]) -> None:
    client = await Raw.connect(door, session)
    await until(lambda: world.agent.clients)
    pushing = asyncio.ensure_future(world.agent.clients[0].send_str("x" * (64 * MIB)))
    _, sent = await standstill(door)
    assert not pushing.done()
    assert sent < 32 * MIB
    assert 0 < waiting(door)[0] <= HIGH_WATER + READ
    left = 64 * MIB + 10
    while left:
        left -= len(await client.reader.read(left))
    await pushing
    client.writer.close()


async def test_an_agent_that_does_not_read(door: Door, world: World, session: dict[str, Any]) -> None:
    client, agent = await Raw.connect(door, session), await agent_of(world)
    agent.pause_reading()
    client.send(1, 64 * MIB)
    received, _ = await standstill(door)
    assert received < 32 * MIB
    assert 0 < waiting(door)[1] <= HIGH_WATER + READ
    agent.resume_reading()
    # The echo: its head, and as many bytes.
    left = 64 * MIB + 10
    while left:
        left -= len(await client.reader.read(left))
    client.writer.close()


async def agent_of(world: World) -> asyncio.Transport:
    """Return the agent's transport of the only connection."""
    await until(lambda: world.agent.clients)
    transport: asyncio.Transport = world.agent.clients[0]._req.transport  # type: ignore[union-attr,assignment]
    return transport


async def halfway(door: Door, world: World, session: dict[str, Any]) -> tuple[Raw, asyncio.Transport]:
    """Return a client that has got the first half of a frame, and the agent's transport."""
    client, agent = await Raw.connect(door, session), await agent_of(world)
    agent.write(b"\x81\x0bhel")
    assert await client.reader.readexactly(5) == b"\x81\x0bhel"
    return client, agent


async def test_a_close_waits_for_the_end_of_a_frame(door: Door, world: World, session: dict[str, Any]) -> None:
    client, agent = await halfway(door, world, session)
    world.kube.remove("apikeys", "acct-acme", "acme")
    await until(lambda: not relay_of(door).open)
    client.send(1, 100)
    # The rest of the frame still passes, what comes after it doesn't.
    agent.write(b"lo world\x81\x02no")
    rest = await client.rest()
    assert rest.startswith(b"lo world\x88")
    assert int.from_bytes(rest[10:12], "big") == 4401
    assert b"no" not in rest.removesuffix(b"not known.")
    await until(lambda: not door.app.state.services.tunnels._tunnels)
    client.writer.close()


async def test_but_not_for_long(door: Door, world: World, session: dict[str, Any]) -> None:
    client, _ = await halfway(door, world, session)
    world.kube.remove("apikeys", "acct-acme", "acme")
    async with asyncio.timeout(1):
        assert await client.rest() == b""
    client.writer.close()


async def test_pings_of_the_agent_are_the_clients_to_answer(
    door: Door, world: World, session: dict[str, Any]
) -> None:
    async with await door.connect(session, autoping=False) as client:
        await until(lambda: world.agent.clients)
        await world.agent.clients[0].ping(b"there?")
        ping = await client.receive()
        assert (ping.type, ping.data) == (aiohttp.WSMsgType.PING, b"there?")
        await client.pong(b"yes")
        await until(lambda: b"yes" in world.agent.pongs)
