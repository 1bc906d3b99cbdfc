"""A pod without Kubernetes: a network namespace, a user that isn't root there, the agent started in both.

The agent runs as uid 1000 of a user namespace of its own, so Chromium keeps its sandbox although the tests run as
root; and in a network namespace with one address, so the site on the other end is no address of its own.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from driftstack_common.agent_client import AgentClient, open_session
from driftstack_common.kinds.archetype import Device, Viewport
from driftstack_common.protocol import Claim, Claimed, Limits

CHROMIUM = "/usr/lib/chromium/chromium-headless-shell"
PORT = 8300
PSS_LIMIT = 30 * 1024 * 1024
"""What the agent may take beside Chromium, bytes."""
SESSION = "0d9f9a52-7d3c-4f0e-9a55-6f2f4f9d1c11"
DESKTOP = Device(viewport=Viewport(width=800, height=600))


def eventually(check: Callable[[], Any], what: str, seconds: float = 10.0) -> Any:
    """Return the first true answer of check; AssertionError after so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if answer := check():
            return answer
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds:g} s: {what}")


class Network:
    """A network namespace joined to the host by a veth pair: `host` is our end's address, `pod` the other's."""

    def __init__(self) -> None:
        number = os.getpid() % 16384
        third, fourth = number // 64, number % 64 * 4
        self.name = f"ds-agent-{os.getpid()}"
        self.host, self.pod = (f"198.18.{third}.{fourth + end}" for end in (1, 2))
        self._links = f"dsh{number}", f"dsp{number}"

    def up(self) -> None:
        """Make it."""
        ours, theirs = self._links
        inside = ("-n", self.name)
        _ip("netns", "add", self.name)
        _ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", self.name)
        _ip("addr", "add", f"{self.host}/30", "dev", ours)
        _ip("link", "set", ours, "up")
        _ip(*inside, "addr", "add", f"{self.pod}/30", "dev", theirs)
        _ip(*inside, "link", "set", theirs, "up")
        _ip(*inside, "link", "set", "lo", "up")

    def down(self) -> None:
        """Remove it; the veth pair goes with it."""
        subprocess.run(["ip", "netns", "delete", self.name], check=False)
        subprocess.run(["ip", "link", "delete", self._links[0]], check=False, capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Pod:
    """One agent process; `settings` are `DRIFTSTACK_AGENT_…` values by name."""

    def __init__(self, network: Network, folder: Path, python: str = sys.executable, **settings: str) -> None:
        self.address = f"{network.pod}:{PORT}"
        self.token = secrets.token_hex(32)
        self.folder = folder
        self.log = folder / "log"
        self.termination_log = folder / "termination"
        values = {
            "TOKEN": self.token,
            "FOLDER": str(folder),
            "TERMINATION_LOG": str(self.termination_log),
            **settings,
        }
        environment = {f"DRIFTSTACK_AGENT_{name}": value for name, value in values.items()}
        command = [
            *("nsenter", f"--net=/run/netns/{network.name}"),
            *("unshare", "--user", "--map-user=1000", "--map-group=1000"),
            *(python, "-m", "driftstack_agent"),
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **environment}, stdout=log, stderr=subprocess.STDOUT, cwd=folder
            )

    @property
    def pid(self) -> int:
        """The agent's pid: nsenter and unshare become it."""
        return self.process.pid

    def lines(self) -> list[dict[str, Any]]:
        """Return the log so far; every line must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def termination(self) -> dict[str, Any]:
        """Return the termination message."""
        data: dict[str, Any] = json.loads(self.termination_log.read_bytes())
        return data

    def wait(self, seconds: float = 10.0) -> int:
        """Return the exit code."""
        return self.process.wait(seconds)

    def pss(self) -> int:
        """Return the agent's proportional set size, bytes."""
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))

    def stop(self) -> None:
        """End it, if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def processes(self, word: str = "") -> list[int]:
        """Return the pids of Chromium's processes under the agent whose command line holds the word."""
        return [pid for pid in _descendants(self.pid) if word.encode() in _cmdline(pid)]


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _descendants(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [pid]
    for parent in found:
        found += [child for child, its in parents.items() if its == parent]
    return found[1:]


class Driver:
    """The shared client, bound to one agent and one session."""

    def __init__(self, pod: Pod, http: aiohttp.ClientSession) -> None:
        self.pod = pod
        self.http = http
        self.client = AgentClient(http)

    async def ready(self) -> None:
        """Wait until health answers 200."""
        until = time.monotonic() + 15
        while time.monotonic() < until:
            try:
                async with self.http.get(f"http://{self.pod.address}/healthz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            if self.pod.process.poll() is not None:
                break
        raise AssertionError(f"the agent is not ready; its log:\n{self.pod.log.read_text()}")

    async def claim(
        self, limits: Limits | None = None, device: Device = DESKTOP, session: str = SESSION
    ) -> Claimed:
        """Wait until the agent is ready, and claim it."""
        await self.ready()
        claim = Claim(session=session, device=device, limits=limits or Limits())
        return await self.client.claim(self.pod.address, self.pod.token, claim)

    async def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Send a raw call with the token; return status and decoded answer."""
        sent = {"Authorization": f"Bearer {self.pod.token}", **(headers or {})}
        url = f"http://{self.pod.address}{path}"
        data = None if body is None else io.BytesIO(body)  # bytes of a megabyte would be warned of
        async with self.http.request(method, url, data=data, headers=sent) as response:
            return response.status, json.loads(await response.read())


def new_http() -> aiohttp.ClientSession:
    """Return the HTTP session of a Driver."""
    return open_session()
