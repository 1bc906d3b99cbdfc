"""Fixtures: the network, the site, agents."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.agent.pod import CHROMIUM, Driver, Network, Pod, new_http
from tests.integration.agent.site import Site

StartPod = Callable[..., Pod]


def _require(ok: bool, what: str) -> None:
    if not ok:
        pytest.fail(f"the agent's integration tests need {what}", pytrace=False)


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    _require(os.path.exists(CHROMIUM), "Chromium: apt-get install chromium-headless-shell")
    _require(os.geteuid() == 0, "root, to make a network namespace: run them with sudo")
    _require(all(map(shutil.which, ("ip", "nsenter", "unshare"))), "apt-get install iproute2 util-linux")
    network = Network()
    try:
        network.up()
        yield network
    finally:
        network.down()


@pytest.fixture(scope="session")
def site(network: Network) -> Iterator[Site]:
    site = Site(network.host)
    yield site
    site.stop()


@pytest.fixture
def start_pod(network: Network, tmp_path: Path) -> Iterator[StartPod]:
    pods: list[Pod] = []

    def start(**settings: str) -> Pod:
        folder = tmp_path / str(len(pods))
        folder.mkdir()
        pods.append(Pod(network, folder, **settings))
        return pods[-1]

    yield start
    for pod in pods:
        pod.stop()


@pytest.fixture
async def driver(start_pod: StartPod) -> AsyncIterator[Driver]:
    """A fresh agent that nobody has claimed."""
    async with new_http() as http:
        yield Driver(start_pod(), http)


@pytest.fixture(scope="module")
def shared_pod(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    pod = Pod(network, tmp_path_factory.mktemp("pod"))
    yield pod
    pod.stop()


@pytest.fixture
async def session(shared_pod: Pod) -> AsyncIterator[Driver]:
    """A claimed agent, shared by the tests of a module: each leaves it usable."""
    async with new_http() as http:
        driver = Driver(shared_pod, http)
        await driver.claim()
        yield driver
