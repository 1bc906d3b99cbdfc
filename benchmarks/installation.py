"""What the benchmarks share: the installation of `make demo`, its API, and figures as people read them."""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from driftstack_cluster import settings

ROOT = Path(__file__).parents[1]
BROWSERS = "driftstack-browsers"


@dataclass(frozen=True)
class Installation:
    """The installation of `make demo`, with its account and key."""

    api: httpx2.Client
    kubectl: str
    kubeconfig: str
    page: str
    proxy: str

    def run_kubectl(self, *words: str, stdin: str | None = None) -> str:
        """Run kubectl; return its output or end the benchmark with what it said."""
        command = [self.kubectl, "--kubeconfig", self.kubeconfig, *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"kubectl {' '.join(words[:3])}: {done.stderr}")
        return done.stdout

    def exec_in(self, pod: str) -> list[str]:
        """Return the beginning of a command that runs in a browser pod."""
        return [self.kubectl, "--kubeconfig", self.kubeconfig, "exec", "-i", "-n", BROWSERS, pod, "--"]

    def wait_for_no_pods(self, seconds: float = 60) -> None:
        """Wait until no browser pod is left; ends the benchmark when other sessions live on."""
        deadline = time.monotonic() + seconds
        while pods := self.run_kubectl("get", "pods", "-n", BROWSERS, "-o", "name"):
            if time.monotonic() > deadline:
                sys.exit(f"other sessions live: end them first (kubectl get driftstack -A)\n{pods}")
            time.sleep(0.2)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call the REST API; return the JSON answer or end the benchmark with the problem."""
        answer = self.api.request(method, path, json=body, headers=headers)
        if answer.status_code >= 400:
            sys.exit(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None


@contextmanager
def open_installation() -> Iterator[Installation]:
    """Read what `make demo` left (of this INSTANCE) and open a `kubectl proxy`; ends when there is nothing."""
    output = settings.load(ROOT).output
    env, told = output / "env", output / "cluster.json"
    if not env.exists() or not told.exists():
        sys.exit("no installation: run `make demo` first")
    pairs = (word.partition("=") for word in shlex.split(env.read_text()) if "=" in word)
    values = {name: value for name, _, value in pairs}
    cluster = json.loads(told.read_text())
    headers = {"Authorization": f"Bearer {values['DRIFTSTACK_API_KEY']}"}
    api = httpx2.Client(base_url=values["DRIFTSTACK_URL"], headers=headers, timeout=60, trust_env=False)
    command = [cluster["kubectl"], "--kubeconfig", cluster["kubeconfig"], "proxy", "--port=0"]
    with api, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        address = proxy.stdout.readline().rsplit(maxsplit=1)[-1]
        try:
            yield Installation(
                api, cluster["kubectl"], cluster["kubeconfig"], cluster["demo_url"], f"http://{address}"
            )
        finally:
            proxy.terminate()


@contextmanager
def session(installation: Installation) -> Iterator[str]:
    """Start a session, yield its id, end it."""
    started = installation.call("POST", "/v1/sessions", {}, Prefer="wait=30")["id"]
    try:
        yield started
    finally:
        installation.call("DELETE", f"/v1/sessions/{started}")


def pod_of(installation: Installation, started: str) -> Any:
    """Return the pod of a session, by its id."""
    selector = f"driftstack.dev/session={started.removeprefix('ses_')}"
    listed = installation.run_kubectl("get", "pods", "-n", BROWSERS, "-l", selector, "-o", "json")
    (pod,) = json.loads(listed)["items"]
    return pod


def rounds(default: int) -> int:
    """Return how often to measure: the setting ROUNDS."""
    return int(os.environ.get("ROUNDS", default))


def show(title: str, seconds: Sequence[float]) -> None:
    """Print median and 95th percentile of a series, in milliseconds."""
    p95 = statistics.quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
    p50 = statistics.median(seconds)
    print(f"{title:<32} n={len(seconds):<3} p50 {p50 * 1000:7.1f} ms   p95 {p95 * 1000:7.1f} ms")
