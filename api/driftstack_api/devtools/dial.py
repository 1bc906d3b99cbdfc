"""The agent's side of a DevTools WebSocket: a connection of its own, up to the agent's answer to the handshake."""

from __future__ import annotations

import asyncio
from typing import Final

from driftstack_api.devtools.frames import accept
from driftstack_common.agent_client import (
    CONNECT_DEADLINE,
    SHORT_DEADLINE,
    AgentTimeout,
    AgentUnreachable,
    refusal,
)
from driftstack_common.protocol_devtools import devtools_path

_ANSWER_LIMIT: Final = 64 * 1024


async def dial(address: str, token: str, session: str, key: str) -> tuple[asyncio.Transport, bytes]:
    """Open a session's WebSocket at its agent.

    Args:
        address: `host:port`.
        session: the uid.
        key: the client's Sec-WebSocket-Key, so that the agent's frames are for the client as they are.

    Returns:
        The connection, which doesn't read yet, and what the agent has sent already.

    Raises:
        AgentError: it can't be reached, or refuses.
    """
    reader = asyncio.StreamReader(limit=_ANSWER_LIMIT)
    transport = await _open(address, reader)
    try:
        async with asyncio.timeout(SHORT_DEADLINE):
            transport.write(_request(address, token, session, key))
            await _answer(reader, key)
        transport.pause_reading()
        reader.feed_eof()
        return transport, await reader.read()
    except TimeoutError as error:
        transport.abort()
        raise AgentTimeout(f"the agent at {address} did not answer in {SHORT_DEADLINE:g} s") from error
    except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
        transport.abort()
        raise AgentUnreachable(f"the agent at {address} broke off: {error!r}", sent=True) from error
    except BaseException:
        transport.abort()
        raise


async def _open(address: str, reader: asyncio.StreamReader) -> asyncio.Transport:
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_DEADLINE):
            transport, _ = await loop.create_connection(
                lambda: asyncio.StreamReaderProtocol(reader), host.strip("[]"), int(port)
            )
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise AgentUnreachable(f"no connection to the agent at {address}: {error!r}", sent=False) from error
    return transport


def _request(address: str, token: str, session: str, key: str) -> bytes:
    lines = (
        f"GET {devtools_path(session)} HTTP/1.1",
        f"Host: {address}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        f"Authorization: Bearer {token}",
    )
    return "\r\n".join((*lines, "", "")).encode()


async def _answer(reader: asyncio.StreamReader, key: str) -> None:
    """Read the answer's head; raise what it says when that is not the upgrade."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(first.split()[1]) if first.startswith("HTTP/1.1 ") else 0
    if status != 101:
        length = int(headers.get("content-length", "0"))
        raise refusal(status, await reader.readexactly(min(length, _ANSWER_LIMIT)))
    if headers.get("sec-websocket-accept") != accept(key):
        raise AgentUnreachable("what answers there is no WebSocket", sent=True)
