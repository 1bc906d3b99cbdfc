"""Quick checks, made from inside a node's network namespace. None of them raises."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from driftstack_cluster import namespaces
from driftstack_cluster.errors import ClusterError

_SECONDS = 2.0


def answers(namespace: str, url: str, authority: Path | None = None) -> Callable[[], bool]:
    """A check that a GET of `url` is answered with 200."""

    def check() -> bool:
        try:
            return namespaces.inside(namespace, lambda: _status(url, authority)) == 200
        except (OSError, http.client.HTTPException, ClusterError):
            return False

    return check


def accepts(socket_file: Path) -> Callable[[], bool]:
    """A check that a Unix socket accepts connections."""

    def check() -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SECONDS)
            try:
                connection.connect(str(socket_file))
            except OSError:
                return False
        return True

    return check


def _status(url: str, authority: Path | None) -> int:
    parts = urlsplit(url)
    host = parts.hostname or "127.0.0.1"
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=str(authority))
        connection = http.client.HTTPSConnection(host, parts.port, timeout=_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=_SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status
    finally:
        connection.close()
