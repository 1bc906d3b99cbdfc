"""Connections to the API server that are given up when the other side no longer acknowledges.

A path that drops packets leaves connections open and silent. The kernel of a living server acknowledges within a
round trip, however long the server itself takes to answer: so a few seconds without acknowledgement tell a dead
path from a slow server, and neither a request nor a watch has to wait for its timeout.
"""

from __future__ import annotations

import socket
from typing import Any, Final
from urllib.request import getproxies

import aiohttp
from aiohttp.connector import AddrInfoType
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

UNACKNOWLEDGED: Final = 3.0
"""Seconds after which sent data without acknowledgement, or a connection attempt, fails the connection."""
IDLE: Final = 2
"""Seconds of silence after which the kernel asks the other side whether it is there, and again each second."""
_TCP_OPTIONS: Final = {
    "TCP_KEEPIDLE": IDLE,
    "TCP_KEEPINTVL": 1,
    "TCP_USER_TIMEOUT": int(UNACKNOWLEDGED * 1000),
}


class Transport(RESTClientObject):  # type: ignore[misc] # kubernetes.aio has no types
    """What `kubernetes.aio` sends requests with, on connections of ours."""

    def __init__(self, configuration: Configuration) -> None:
        # Trusting the environment costs two hops to a thread per request: one asks for proxies, one for ~/.netrc.
        configuration.client_session_kwargs = {"trust_env": bool(getproxies().keys() - {"no"})}
        super().__init__(configuration)

    def open_session(self, *middlewares: aiohttp.ClientMiddlewareType) -> aiohttp.ClientSession:
        """Return a session of its own on this transport's certificates; the caller closes it."""
        return aiohttp.ClientSession(connector=self._create_connector(), middlewares=middlewares)

    def _create_connector(self) -> aiohttp.TCPConnector:
        """Make a connector (called by the base class for its own session)."""
        ssl: Any = self.ssl_context
        return aiohttp.TCPConnector(limit=0, ssl=ssl, socket_factory=open_socket)


def open_socket(address: AddrInfoType) -> socket.socket:
    """Return a TCP socket that notices a dead path within UNACKNOWLEDGED, idle or not."""
    family, kind, protocol = address[:3]
    opened = socket.socket(family, kind, protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_OPTIONS.items():
        option = getattr(socket, name, None)
        if option is not None:  # Linux has them all, a developer's machine may not
            opened.setsockopt(socket.IPPROTO_TCP, option, value)
    return opened
