"""The facade as the process that ships, on this machine, with its surroundings in the memory of another."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
READY_SECONDS = 300


@dataclass(frozen=True)
class LocalFacade:
    """A facade that is ready.

    Attributes:
        key: of an account with nearly all sessions.
        sessions: public ids of that account's live sessions.
        ready_seconds: from the start of the process until /readyz said so.
    """

    process: subprocess.Popen[bytes]
    port: int
    key: str
    sessions: list[str]
    ready_seconds: float


@contextmanager
def open_facade(**sizes: int) -> Iterator[LocalFacade]:
    """Start both processes; sizes are those of `tests.integration.api.process`."""
    options = [f"--{name}={size}" for name, size in sizes.items()]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.integration.api.process", folder, *options]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as surroundings:
            assert surroundings.stdin is not None
            assert surroundings.stdout is not None
            told = json.loads(surroundings.stdout.readline())
            port = free_port()
            settings = {"KUBECONFIG": f"{folder}/kubeconfig"}
            settings |= {f"{of}_KEYS": f"{folder}/keys" for of in ("AGENT", "CONNECT")}
            # On a busy machine the surroundings' watches may be late; that is not what is measured.
            settings |= {
                "FRESH_SECONDS": "60",
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "METRICS_PORT": str(free_port()),
            }
            variables = {f"DRIFTSTACK_API_{name}": value for name, value in settings.items()}
            with run("driftstack_api", **variables) as process:
                ready = wait_until_ok(f"http://127.0.0.1:{port}/readyz")
                yield LocalFacade(process, port, told["key"], told["sessions"], ready)
            surroundings.stdin.close()


@contextmanager
def run(*module: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m module …` until the block ends; what it logs goes nowhere."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTSTACK_")}
    with subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=ROOT / "benchmarks",
        env=inherited | environment,
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def wait_until_ok(url: str) -> float:
    """Return how many seconds it took until a GET succeeded."""
    started = time.perf_counter()
    while time.perf_counter() - started < READY_SECONDS:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own http URL
                return time.perf_counter() - started
        except (OSError, urllib.error.HTTPError):
            time.sleep(0.05)
    sys.exit(f"{url} does not answer within {READY_SECONDS} s")


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
