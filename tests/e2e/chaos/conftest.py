"""Faults on the running cluster. Every test leaves the cluster as it found it, and its figures in the report."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pykube
import pytest

from driftstack_cluster import settings
from driftstack_cluster.layout import Layout
from tests.e2e.chaos.failpoints import Points, enabled
from tests.e2e.chaos.machine import Machine
from tests.e2e.chaos.report import Report
from tests.e2e.conftest import ROOT, Installation
from tests.e2e.objects import keep_warm, pool_of

_REPORT = pytest.StashKey[Report]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_REPORT] = Report()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # An installation made anew has no failpoints, which are set up once.
    anew = ("test_namespaces.py", "test_uninstall.py")
    items.sort(key=lambda item: anew.index(item.path.name) if item.path.name in anew else -1)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Where each fault goes with its figures."""
    return request.config.stash[_REPORT]


@pytest.fixture(scope="session")
def long() -> bool:
    """Whether this is the long form (`make chaos`): more rounds, longer outages, every point."""
    return os.environ.get("CHAOS") == "long"


@pytest.fixture(scope="session")
def only_long(long: bool) -> None:
    """For what takes most of a minute, and whose parts the short form does too."""
    if not long:
        pytest.skip("most of a minute of waiting: `make chaos` does it")


@pytest.fixture(scope="session")
def machine(installation: Installation) -> Machine:
    """The embedded node; other clusters' processes are not ours to stop."""
    if installation.backend != "embedded":
        pytest.skip("only the embedded node's own processes may be stopped by a test")
    chosen = settings.load(ROOT)
    return Machine(ROOT, Layout(chosen.instance, chosen.nodes))


@pytest.fixture(scope="session")
def failpoints(installation: Installation, machine: Machine, kube: pykube.HTTPClient) -> Iterator[Points]:
    """Failpoints in all operators and facades, from the first test that asks to the end of the ring."""
    told = json.loads((settings.load(ROOT).output / "cluster.json").read_text())
    with enabled(installation, told["helm"]):
        yield Points(machine, kube)


@pytest.fixture(autouse=True)
def cold_pool(kube: pykube.HTTPClient) -> None:
    """No warm pods: faults meet a start at each of its steps. Who wants some keeps them warm itself."""
    keep_warm(kube, 0)


@pytest.fixture(scope="session", autouse=True)
def _replicas(kube: pykube.HTTPClient) -> Iterator[None]:
    """After the ring the pool keeps what it kept before."""
    before = pool_of(kube).spec.get("replicas", 0)
    yield
    pool_of(kube).patch({"spec": {"replicas": before}})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[_REPORT]
    if not report.faults:
        return
    terminalreporter.section("chaos")
    for line in report.lines():
        terminalreporter.line(line)
    path = settings.load(ROOT).output / "chaos.json"
    report.write(path)
    terminalreporter.line(f"written to {path.relative_to(ROOT)}")
