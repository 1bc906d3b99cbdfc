"""PSS of idle sessions, alone and ten side by side, with a blank and with other pages; needs root on the node.

Beside them ten bare Chromium with one blank page each (Debian's, started as Playwright starts its own, without a
sandbox), and ten connections to browserless with its server. Pods and the others use two copies of the same
Chromium, so nothing is shared between them.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from figures import Bound, Series
from harness import Row, Run, alone
from installation import BROWSERS, Installation
from peers import CHROMIUM, browserless
from pss import children, pids, pss, total, tree
from sessions import PATIENCE, Client, open_client, wait_until_warm, warm_pods

from driftstack_common.kube.client import POD

SETTLE_SECONDS: Final = 5
SIDE_BY_SIDE: Final = 10
PAGES: Final = {"demo": ("", "the demo's page"), "big": ("big?n=5000", "a page of 5,000 elements")}
_FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--remote-debugging-port=0")


@dataclass(frozen=True)
class Usage:
    """PSS of one pod, MiB."""

    agent: float
    pod: float


def usage(pod_uid: str) -> Usage:
    """Add up the processes in the control group of a pod."""
    agent = whole = 0.0
    for pid in pids():
        process = Path(f"/proc/{pid}")
        try:
            if f"pod{pod_uid}" not in (process / "cgroup").read_text():
                continue
            command = (process / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        taken = pss(pid)
        whole += taken
        agent += taken if b"driftstack_agent" in command else 0
    return Usage(agent, whole)


@asynccontextmanager
async def sessions(client: Client, count: int) -> AsyncIterator[list[str]]:
    """Start so many sessions, one after the other, and end them."""
    await wait_until_warm(client.kube, 0)
    started = [(await client.create()).id for _ in range(count)]
    try:
        yield started
    finally:
        await asyncio.gather(*(client.delete(session) for session in started))


async def pods(client: Client) -> list[Usage]:
    """Return the usage of all browser pods, once they have settled."""
    await asyncio.sleep(SETTLE_SECONDS)
    listed = await client.kube.list_metadata(POD, BROWSERS)
    return [usage(pod["metadata"]["uid"]) for pod in listed["items"]]


async def of_sessions(installation: Installation) -> list[Series]:
    """Measure sessions, alone and side by side, idle and with pages."""
    found: list[Series] = []
    async with open_client(installation) as client, warm_pods(client.kube, 0):
        async with sessions(client, 1):
            alone_there = await pods(client)
        async with sessions(client, SIDE_BY_SIDE) as started:
            idle = await pods(client)
            found += [
                _series("memory.agent", "agent of an idle session", [each.agent for each in idle]),
                _series("memory.alone", "idle session, pod, alone", [each.pod for each in alone_there]),
                _series("memory.session", "idle session, pod, 10 side by side", [each.pod for each in idle]),
            ]
            for key, (path, title) in PAGES.items():
                for session in started:
                    url = {"url": installation.page + path}
                    await client.call("POST", f"/v1/sessions/{session}/navigate", url)
                shown = [each.pod for each in await pods(client)]
                found.append(_series(f"memory.session.{key}", f"session with {title}", shown))
    return found


def of_bare_browsers() -> Series:
    """Measure Chromium by itself."""
    with ExitStack() as stack:
        started = [stack.enter_context(_bare_browser()) for _ in range(SIDE_BY_SIDE)]
        _wait_for_pages([process.pid for process in started])
        time.sleep(SETTLE_SECONDS)
        of = children()
        values = [total(tree(process.pid, of)) for process in started]
    return _series("memory.bare", "bare Chromium, blank page, 10 side by side", values)


def _wait_for_pages(browsers: Sequence[int]) -> None:
    """Wait until each has a renderer, which a busy machine may keep it from for long."""
    deadline = time.monotonic() + PATIENCE
    while not all(any(_renders(pid) for pid in tree(browser, of)) for of in [children()] for browser in browsers):
        if time.monotonic() > deadline:
            sys.exit("a bare Chromium does not come to show its page")
        time.sleep(0.2)


def _renders(pid: int) -> bool:
    try:
        return b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def _bare_browser() -> Iterator[subprocess.Popen[bytes]]:
    null = subprocess.DEVNULL
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        with subprocess.Popen(command, stdout=null, stderr=null) as process:
            try:
                yield process
            finally:
                process.terminate()


async def of_browserless() -> list[Series]:
    """Measure browserless: its browsers, one per connection, and its server."""
    with browserless() as peer:
        async with aiohttp.ClientSession(trust_env=False) as http:
            sockets = [await http.ws_connect(f"http://127.0.0.1:{peer.port}/chromium") for _ in range(SIDE_BY_SIDE)]
            await asyncio.to_thread(_wait_for_pages, children()[peer.pid])
            await asyncio.sleep(SETTLE_SECONDS)
            of = children()
            values = [total(tree(browser, of)) for browser in of[peer.pid]]
            server = pss(peer.pid)
            for socket in sockets:
                await socket.close()
    return [
        _series("memory.browserless", "browserless, browser of an idle connection", values),
        _series("memory.browserless.server", "browserless, its server", [server]),
    ]


def _series(key: str, title: str, values: Sequence[float]) -> Series:
    return Series(key, title, "MiB", values)


def measure(run: Run) -> Sequence[Series]:
    """Return all three; a round more or less changes nothing, so there is one."""
    if os.geteuid() != 0:
        sys.exit("PSS of other users' processes is root's to read: run this as root on the node")
    own = asyncio.run(of_sessions(run.installation))
    return [*own, of_bare_browsers(), *asyncio.run(of_browserless())]


ROW = Row(
    "memory",
    "Memory of idle sessions, PSS",
    measure,
    bounds=(Bound("memory.session", 1.45, against="memory.bare"), Bound("memory.agent", 25)),
    rounds=1,
    quick=1,
)

if __name__ == "__main__":
    alone(ROW)
