"""`make demo`: the main job with real output, through REST and kubectl, each step timed.

Writes `demo/page.png`, `demo/page.pdf` and `.driftstack/env` (address, key and kubeconfig for further calls).
"""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table

from driftstack_cluster.errors import ClusterError, NotReady
from driftstack_cluster.install import answers
from driftstack_common import api_keys

ACCOUNT = "demo"
NAMESPACE = f"acct-{ACCOUNT}"
KUBECTL_SESSION = "hello-kubectl"
RATE_LIMITS = {
    "global": {"capacity": 60_000, "refillPerMinute": 60_000},
    "sessionsCreate": {"capacity": 600, "refillPerMinute": 600},
}
"""Those of the largest tier: benchmarks use this account."""
_HINT = (
    "`make up` repairs what died. With CLUSTER=current, forward its port and run `make demo` again: "
    "kubectl -n driftstack-system port-forward svc/driftstack-facade 30080:80"
)


@dataclass(frozen=True)
class Target:
    """The installation to show.

    Attributes:
        page: URL that the browser can reach.
        folder: root of the checkout; captures go to `demo/` below it.
        env: file for address, key and kubeconfig.
    """

    url: str
    page: str
    kubeconfig: Path
    kubectl: Path
    folder: Path
    env: Path


@dataclass
class Timings:
    """What was done and how long it took, for the table at the end."""

    console: Console
    rows: list[tuple[str, str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, title: str, door: str) -> Iterator[None]:
        """Time one step and say so."""
        started = time.perf_counter()
        yield
        elapsed = time.perf_counter() - started
        self.rows.append((title, door, elapsed))
        self.console.print(f"{elapsed:6.2f}s {title} [dim]({door})[/dim]", highlight=False)

    def table(self) -> Table:
        """Return the table of all steps."""
        table = Table(title="One session by REST, one by kubectl", title_justify="left")
        table.add_column("step")
        table.add_column("door")
        table.add_column("ms", justify="right")
        for title, door, elapsed in self.rows:
            table.add_row(title, door, f"{elapsed * 1000:,.0f}")
        return table


def run(target: Target, console: Console) -> None:
    """Show the whole life of two sessions.

    Raises:
        ClusterError: a step failed; the message holds the answer that came.
    """
    if not answers(f"{target.url}/readyz"):
        raise NotReady(f"the facade does not answer at {target.url}", _HINT)
    timings = Timings(console)
    key = _account_and_key(target, timings)
    write_env(target, key)
    headers = {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=target.url, headers=headers, timeout=60, trust_env=False) as api:
        session = _rest_session(api, target, timings)
        _kubectl_session(target, timings)
        console.print()
        shown = _kubectl(target, "get", "browsersessions", "-n", NAMESPACE)
        console.print(shown, highlight=False, markup=False, soft_wrap=True)
        with timings.step("delete", "REST"):
            _call(api, "DELETE", f"/v1/sessions/{session}")
    with timings.step("delete", "kubectl"):
        _kubectl(target, "delete", "browsersession", KUBECTL_SESSION, "-n", NAMESPACE)
    console.print(timings.table())
    console.print(f"Captures: {target.folder}/demo/page.png and page.pdf")
    env = target.env.relative_to(target.folder)
    console.print(f"Your own calls: source {env}, then driftstack, curl or kubectl as in the README.")


def write_env(target: Target, key: str) -> None:
    """Write the file for further calls, readable by its owner alone."""
    values = {
        "DRIFTSTACK_URL": target.url,
        "DRIFTSTACK_API_KEY": key,
        "KUBECONFIG": str(target.kubeconfig),
        # `driftstack` is where this Python's commands are; behind all others, for it has a `python3` too.
        "PATH": f"{target.kubectl.parent}:$PATH:{Path(sys.executable).parent}",
    }
    lines = [f'export {name}="{value}"\n' for name, value in values.items()]
    target.env.touch(mode=0o600)
    target.env.chmod(0o600)
    target.env.write_text("".join(lines))


def _account_and_key(target: Target, timings: Timings) -> str:
    with timings.step("account", "kubectl"):
        account = {"tier": "api_builder", "overrides": {"rateLimits": RATE_LIMITS}}
        _apply(target, {"kind": "Account", "metadata": {"name": ACCOUNT}, "spec": account})
        _kubectl(target, "wait", f"account/{ACCOUNT}", "--for=condition=Ready", "--timeout=60s")
    known = _known_key(target)
    if known and _accepted(target, known):
        return known
    with timings.step("API key", "kubectl"):
        minted = api_keys.mint()
        name = f"demo-{minted.sha256[:8]}"
        spec = {
            "name": "make demo",
            "scopes": ["account_owner"],
            "sha256": minted.sha256,
            "keyPrefix": minted.prefix,
        }
        _apply(target, {"kind": "ApiKey", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
        _until(lambda: _accepted(target, minted.plaintext), 20, "the facade does not accept the new key")
    return minted.plaintext


def _known_key(target: Target) -> str | None:
    if not target.env.exists():
        return None
    words = shlex.split(target.env.read_text())
    found = [word.partition("=")[2] for word in words if word.startswith("DRIFTSTACK_API_KEY=")]
    return found[0] if found else None


def _accepted(target: Target, key: str) -> bool:
    headers = {"Authorization": f"Bearer {key}"}
    try:
        answer = httpx2.get(f"{target.url}/v1/whoami", headers=headers, timeout=5, trust_env=False)
    except httpx2.TransportError:
        return False
    return answer.status_code == 200


def _rest_session(api: httpx2.Client, target: Target, timings: Timings) -> str:
    with timings.step("create, until ready", "REST"):
        session: str = _call(api, "POST", "/v1/sessions", {"label": "demo"}, Prefer="wait=30")["id"]
        _until(lambda: _ready(api, session), 60, f"session {session} does not become ready")
    with timings.step(f"navigate to {target.page}", "REST"):
        _call(api, "POST", f"/v1/sessions/{session}/navigate", {"url": target.page})
    for kind, name in (("screenshot", "page.png"), ("pdf", "page.pdf")):
        with timings.step(f"capture demo/{name}", "REST"):
            captured = _call(api, "POST", f"/v1/sessions/{session}/capture", {"kind": kind})
            path = target.folder / "demo" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(base64.b64decode(captured["data"]))
    return session


def _ready(api: httpx2.Client, session: str) -> bool:
    status = _call(api, "GET", f"/v1/sessions/{session}")["status"]
    if status == "errored":
        raise ClusterError(f"session {session} errored", "kubectl get driftstack -A says why")
    return bool(status == "ready")


def _kubectl_session(target: Target, timings: Timings) -> None:
    with timings.step("apply, until ready", "kubectl"):
        # One that an interrupted demo left would be taken for this one.
        _kubectl(target, "delete", "browsersession", KUBECTL_SESSION, "-n", NAMESPACE, "--ignore-not-found")
        metadata = {"name": KUBECTL_SESSION, "namespace": NAMESPACE}
        _apply(target, {"kind": "BrowserSession", "metadata": metadata, "spec": {"label": "from kubectl"}})
        wait = ("--for=jsonpath={.status.phase}=ready", "--timeout=60s")
        _kubectl(target, "wait", f"browsersession/{KUBECTL_SESSION}", "-n", NAMESPACE, *wait)


def _call(api: httpx2.Client, method: str, path: str, body: Any = None, **headers: str) -> Any:
    try:
        answer = api.request(method, path, json=body, headers=headers)
    except httpx2.TransportError as error:
        raise ClusterError(f"{method} {path}: no answer ({error!r})", "make up repairs what died") from error
    if answer.status_code >= 400:
        raise ClusterError(f"{method} {path} answered {answer.status_code}: {answer.text}")
    return answer.json() if answer.content else None


def _apply(target: Target, manifest: dict[str, Any]) -> None:
    body = {"apiVersion": "driftstack.dev/v1alpha1", **manifest}
    _kubectl(target, "apply", "-f", "-", stdin=json.dumps(body))


def _kubectl(target: Target, *words: str, stdin: str | None = None) -> str:
    command = [str(target.kubectl), "--kubeconfig", str(target.kubeconfig), *words]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"kubectl {' '.join(words[:3])} failed: {done.stderr.strip()}")
    return done.stdout


def _until(condition: Callable[[], bool], seconds: float, failure: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NotReady(f"{failure} within {seconds:.0f} s", "kubectl get pods -A shows what runs")
        time.sleep(0.02)
