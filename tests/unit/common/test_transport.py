"""Connections that notice when nobody acknowledges; the faults themselves are in tests/e2e/chaos."""

from __future__ import annotations

import socket

import pytest
from kubernetes.aio.client import Configuration

from driftstack_common.kube.transport import Transport, open_socket


def test_socket_gives_up_within_seconds_busy_or_idle() -> None:
    with open_socket((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 1))) as opened:
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3000
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        assert idle + opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) <= 3


def test_systems_that_lack_an_option_go_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    with open_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))) as opened:
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize(("variable", "asked"), [("HTTPS_PROXY", True), ("HOME", False)])
async def test_environment_is_asked_with_each_request_only_where_it_names_a_proxy(
    monkeypatch: pytest.MonkeyPatch, variable: str, asked: bool
) -> None:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    monkeypatch.setenv(variable, "http://127.0.0.1:3128")
    session = Transport(Configuration())._create_pool_manager()
    assert session.trust_env is asked
    await session.close()
