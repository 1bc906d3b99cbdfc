from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog
import yaml

from driftstack_cli.__main__ import main
from tests.integration.api.test_client import served as facade_served
from tests.integration.api.world import World, application, surroundings
from tests.integration.cli.background import Background
from tests.integration.cli.kube_server import KubeServer, served


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Done]


class Cluster(NamedTuple):
    """An API server, and the way to touch it from a test."""

    server: KubeServer
    background: Background
    kubeconfig: Path

    def put(self, plural: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.background.call(self.server.kube.put, plural, body)

    def object(self, plural: str, namespace: str, name: str) -> dict[str, Any]:
        return self.server.kube.objects[plural, namespace, name]

    def of(self, plural: str) -> list[dict[str, Any]]:
        return [body for (kind, _, _), body in self.server.kube.objects.items() if kind == plural]


class Rest(NamedTuple):
    """A facade, and the world around it."""

    world: World
    background: Background
    url: str


@pytest.fixture
def background() -> Iterator[Background]:
    made = Background()
    yield made
    made.close()


@pytest.fixture
def driftstack(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process, all of it but the interpreter's start."""

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["driftstack", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        said = capfd.readouterr()
        code = caught.value.code or 0
        assert isinstance(code, int)
        assert "Traceback" not in said.err
        return Done(int(code), said.out, said.err)

    return run


@pytest.fixture
def cluster(background: Background, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that KUBECONFIG leads to, with the account acme."""
    with background.entered(served()) as server:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config(server.url)))
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        made = Cluster(server, background, kubeconfig)
        server.namespaces.add("acct-acme")
        made.put("accounts", account("acme"))
        yield made


@pytest.fixture
def rest(background: Background, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rest]:
    """A facade that the environment leads to, with a key of the account acme."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    with background.entered(surrounded()) as (world, url):
        monkeypatch.setenv("DRIFTSTACK_URL", url)
        monkeypatch.setenv("DRIFTSTACK_API_KEY", world.keys["acme"].plaintext)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield Rest(world, background, url)


@asynccontextmanager
async def surrounded() -> AsyncIterator[tuple[World, str]]:
    async with surroundings() as world, application(world) as app, facade_served(app) as url:
        yield world, url


def config(url: str, namespace: str | None = None) -> dict[str, Any]:
    """A kubeconfig with two contexts, of which the second has another server."""
    context = {"cluster": "here", "user": "me", **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "here", "cluster": {"server": url}},
            {"name": "nowhere", "cluster": {"server": "http://127.0.0.1:1"}},
        ],
        "users": [{"name": "me", "user": {"token": "secret"}}],
        "contexts": [
            {"name": "here", "context": context},
            {"name": "nowhere", "context": {"cluster": "nowhere", "user": "me"}},
        ],
        "current-context": "here",
    }


def account(name: str, *, ready: bool = True, reason: str = "QuotaInForce", message: str = "", **spec: Any) -> Any:
    """An account as the operator leaves it."""
    condition = {
        "type": "Ready",
        "status": str(ready),
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-05-12T12:00:00Z",
    }
    return {
        "metadata": {"name": name, "generation": 1, "managedFields": [{"manager": "x"}]},
        "spec": {"tier": "api_starter", **spec},
        "status": {
            "namespace": f"acct-{name}",
            "limit": 2,
            "live": 1,
            "observedGeneration": 1,
            "conditions": [condition],
        },
    }
