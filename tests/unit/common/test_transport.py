"""Connections that notice when nobody acknowledges; the faults themselves are in tests/e2e/chaos."""

from __future__ import annotations

import socket

from driftstack_common.kube.transport import open_socket


def test_socket_gives_up_within_seconds_busy_or_idle() -> None:
    with open_socket((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 1))) as opened:
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3000
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        assert idle + opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) <= 3
