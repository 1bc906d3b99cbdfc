"""Our processes with a clock that is wrong: the real programs, on the node, with the rights of their accounts.

Only the time of day is shifted (libfaketime): a wrong clock still runs at the right speed.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pykube
import yaml

from tests.e2e.chaos.machine import Machine
from tests.e2e.chaos.watching import settled
from tests.e2e.conftest import Installation
from tests.e2e.objects import SYSTEM, eventually

PREFIXES = {"operator": "DRIFTSTACK_OPERATOR_", "facade": "DRIFTSTACK_API_"}
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
"""libfaketime for programs with threads; None where it is not installed."""
MODULES = {"operator": "driftstack_operator", "facade": "driftstack_api"}


@contextlib.contextmanager
def away(kube: pykube.HTTPClient, component: str) -> Iterator[None]:
    """Have no pod of a component for a while."""
    deployment = pykube.Deployment.objects(kube, namespace=SYSTEM).get(name=f"driftstack-{component}")
    before = deployment.replicas
    deployment.scale(0)
    try:
        eventually(lambda: not _pods(kube, component), 60, f"no {component} is left")
        yield
    finally:
        deployment.reload()
        deployment.scale(before)
        settled(kube)


@contextlib.contextmanager
def running(
    machine: Machine, installation: Installation, component: str, skew: int, folder: Path, **settings: str
) -> Iterator[Path]:
    """Run a component whose clock is so many seconds ahead; yield the file of its log."""
    environment = environment_of(installation, component)
    folder.mkdir(parents=True, exist_ok=True)
    environment |= {
        f"{PREFIXES[component]}{name}": value
        for name, value in {
            "KUBECONFIG": str(kubeconfig_of(installation, component, folder)),
            "AGENT_KEYS": str(_keys(installation, folder, "agent-key")),
            **_connect_keys(installation, component, folder),
            "METRICS_PORT": "0",
            **settings,
        }.items()
    }
    assert LIBRARY is not None
    # Not by its own wrapper, which would stay between us and the process.
    environment |= {"LD_PRELOAD": str(LIBRARY), "FAKETIME": f"{skew:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    command = [
        *("nsenter", f"--net=/run/netns/{machine.layout.control.namespace}", "--"),
        *(str(machine.checkout / ".venv/bin/python"), "-m", MODULES[component]),
    ]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=output)
    try:
        eventually(lambda: "timestamp" in log.read_text(), 30, "the log begins")
        said = json.loads(log.read_text().splitlines()[0])["timestamp"]
        assert abs(age(said) + skew) < 60, "the clock is not wrong"
        yield log
        assert process.poll() is None, log.read_text()[-2000:]
    finally:
        process.terminate()
        process.wait(timeout=20)


def moment(text: str) -> datetime:
    """Return a time that the API shows."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def age(text: str) -> float:
    """Return how long ago a time was, by a clock that is right, seconds."""
    return (datetime.now(UTC) - moment(text)).total_seconds()


def _pods(kube: pykube.HTTPClient, component: str) -> list[pykube.Pod]:
    return list(
        pykube.Pod.objects(kube, namespace=SYSTEM).filter(selector={"app.kubernetes.io/component": component})
    )


def environment_of(installation: Installation, component: str) -> dict[str, str]:
    """Return the settings that the chart gives a component."""
    deployment = _read(installation, "deployment", f"driftstack-{component}")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    return {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}


def kubeconfig_of(installation: Installation, component: str, folder: Path) -> Path:
    """Write a kubeconfig with the rights of a component's ServiceAccount; return its file."""
    told = installation.run_kubectl("create", "token", f"driftstack-{component}", "-n", SYSTEM, "--duration=1h")
    config = yaml.safe_load(installation.kubeconfig.read_text())
    config["users"] = [{"name": user["name"], "user": {"token": told.stdout.strip()}} for user in config["users"]]
    path = folder / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))
    return path


def _connect_keys(installation: Installation, component: str, folder: Path) -> dict[str, str]:
    """Return the setting that only the facade has."""
    return {"CONNECT_KEYS": str(_keys(installation, folder, "connect-key"))} if component == "facade" else {}


def _keys(installation: Installation, folder: Path, secret: str) -> Path:
    keys = folder / secret
    keys.mkdir(mode=0o700, exist_ok=True)
    for name, value in _read(installation, "secret", f"driftstack-{secret}")["data"].items():
        (keys / name).write_bytes(base64.b64decode(value))
    return keys


def _read(installation: Installation, kind: str, name: str) -> dict[str, Any]:
    told = installation.run_kubectl("get", kind, name, "-n", SYSTEM, "-o", "json")
    found: dict[str, Any] = json.loads(told.stdout)
    return found
