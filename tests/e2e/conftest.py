"""The installation under test: what `make up` left in `.driftstack/`, and accounts made for one test each."""

from __future__ import annotations

import json
import secrets
import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pykube
import pytest

from driftstack_cluster import settings
from driftstack_common import api_keys
from tests.e2e.objects import BROWSERS, SYSTEM, VERSION, Account, ApiKey, eventually

ROOT = Path(__file__).parents[2]
UNLIMITED = {name: {"capacity": 1_000_000, "refillPerMinute": 60_000_000} for name in ("global", "sessionsCreate")}
"""Rate limits that no test reaches; a test of limits says which it wants."""


@dataclass(frozen=True)
class Installation:
    """Where the parts are; `backend` is embedded, kind or current."""

    backend: str
    url: str
    page: str
    kubeconfig: Path
    kubectl: Path
    node_namespace: str

    def run_kubectl(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl as an administrator would and return what it said."""
        command = [str(self.kubectl), "--kubeconfig", str(self.kubeconfig), *words]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)


@dataclass(frozen=True)
class Tenant:
    """An account of one test, with a key and a client of its own."""

    name: str
    namespace: str
    key: str
    api: httpx2.Client

    def create(self, **body: Any) -> dict[str, Any]:
        """Create a session by REST and wait until it is ready."""
        answer = self.api.post("/v1/sessions", json=body, headers={"Prefer": "wait=30"})
        assert answer.status_code == 201, answer.text
        session: dict[str, Any] = answer.json()
        eventually(lambda: self.get(session["id"])["status"] == "ready", 30, f"{session['id']} ready")
        return self.get(session["id"])

    def get(self, session: str) -> dict[str, Any]:
        """Return a session as REST shows it."""
        answer = self.api.get(f"/v1/sessions/{session}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown


@pytest.fixture(scope="session")
def installation() -> Installation:
    """What `make up` described; fails with what to do when there is nothing."""
    path = settings.load(ROOT).output / "cluster.json"
    if not path.exists():
        pytest.fail("no cluster: run `make up` first", pytrace=False)
    told = json.loads(path.read_text())
    return Installation(
        backend=told["backend"],
        url=told["facade_url"],
        page=told["demo_url"],
        kubeconfig=Path(told["kubeconfig"]),
        kubectl=Path(told["kubectl"]),
        node_namespace=told.get("node_namespace", ""),
    )


@pytest.fixture(scope="session")
def kube(installation: Installation) -> pykube.HTTPClient:
    """An administrator's client, of another library than the product's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pykube.HTTPClient(pykube.KubeConfig.from_file(str(installation.kubeconfig)), timeout=30)


@pytest.fixture(scope="session")
def leaving(kube: pykube.HTTPClient) -> Iterator[list[str]]:
    """Names of accounts that tests have deleted; at the end all of them must be gone."""
    names: list[str] = []
    yield names
    accounts = Account.objects(kube)
    for name in names:
        eventually(lambda name=name: accounts.get_or_none(name=name) is None, 60, f"account {name} gone")


@pytest.fixture
def account_of(
    installation: Installation, kube: pykube.HTTPClient, leaving: list[str]
) -> Iterator[Callable[..., Tenant]]:
    """Make accounts; they and all their sessions go with the test."""
    made: list[Tenant] = []

    def make(**spec: Any) -> Tenant:
        overrides = {"rateLimits": UNLIMITED, **spec.get("overrides", {})}
        tenant = _make_account(installation, kube, {"tier": "api_builder", **spec, "overrides": overrides})
        made.append(tenant)
        return tenant

    yield make
    for tenant in made:
        tenant.api.close()
        Account(kube, {"metadata": {"name": tenant.name}}).delete()
        leaving.append(tenant.name)


@pytest.fixture
def account(account_of: Callable[..., Tenant]) -> Tenant:
    """An account with a cap of eight sessions."""
    return account_of()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add events and pods to the report of a failed test: the cluster's side of the story."""
    report = yield
    if report.failed and "installation" in getattr(item, "funcargs", {}):
        installation = item.funcargs["installation"]
        for title, words in _EVIDENCE.items():
            report.sections.append((title, installation.run_kubectl(*words).stdout[-6000:]))
    return report


_EVIDENCE = {
    "events": ("get", "events", "-A", "--sort-by=.lastTimestamp"),
    "browser pods": ("get", "pods", "-n", BROWSERS, "-o", "wide"),
    "operator": ("logs", "-n", SYSTEM, "deployment/driftstack-operator", "--tail=40"),
    "dispatcher": ("logs", "-n", SYSTEM, "deployment/driftstack-dispatcher", "--tail=40"),
    "facade": ("logs", "-n", SYSTEM, "deployment/driftstack-facade", "--tail=40"),
}


def _make_account(installation: Installation, kube: pykube.HTTPClient, spec: dict[str, Any]) -> Tenant:
    name = f"e2e-{secrets.token_hex(4)}"
    account = Account(kube, {"apiVersion": VERSION, "kind": "Account", "metadata": {"name": name}, "spec": spec})
    account.create()
    # A new cluster looks for kinds to count twice a minute.
    eventually(lambda: _is_ready(kube, name), 60, f"account {name} ready")
    minted = api_keys.mint()
    key = {
        "apiVersion": VERSION,
        "kind": "ApiKey",
        "metadata": {"name": "e2e", "namespace": f"acct-{name}"},
        "spec": {"name": "e2e", "scopes": ["account_owner"], "sha256": minted.sha256, "keyPrefix": minted.prefix},
    }
    ApiKey(kube, key).create()
    headers = {"Authorization": f"Bearer {minted.plaintext}"}
    api = httpx2.Client(base_url=installation.url, headers=headers, timeout=60, trust_env=False)
    eventually(lambda: _accepts(api), 30, "the facade accepts the new key")
    return Tenant(name, f"acct-{name}", minted.plaintext, api)


def _accepts(api: httpx2.Client) -> bool:
    """Whether the facade knows the key; the test before may have left it starting."""
    try:
        return api.get("/v1/whoami").status_code == 200
    except httpx2.TransportError:
        return False


def _is_ready(kube: pykube.HTTPClient, name: str) -> bool:
    conditions = Account.objects(kube).get(name=name).obj.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
