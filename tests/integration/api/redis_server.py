"""A Redis (or Valkey) of a test's own, with a password and, if asked for, TLS."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from pathlib import Path

from driftstack_cluster.certificates import Authority, Subject
from tests.unit.api.polling import until

PASSWORD = "a-password-that-no-log-has"
COMMANDS = "+evalsha +script|load +time +get +set"
"""All that docs/operations/rate-limits.md says a user needs."""


def binary() -> str | None:
    """Return where the server is, if it is installed (`make redis`)."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer:
    """A server process; `folder` describes it as the chart's Secret does."""

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        self.folder = folder
        self._authority = authority
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        scheme = "redis" if authority is None else "rediss"
        (folder / "url").write_text(f"{scheme}://driftstack:{PASSWORD}@127.0.0.1:{self.port}/0\n")
        if authority is not None:
            shutil.copy(authority.certificate_file, folder / "ca.crt")

    async def start(self, password: str = PASSWORD) -> None:
        """Start, and wait until it listens."""
        ports = ["--port", str(self.port)]
        if self._authority is not None:
            certificate, key = self._authority.issue(Subject("tls", "redis", names=("127.0.0.1",)))
            ports = ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            ports += ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
            ports += ["--tls-ca-cert-file", str(self._authority.certificate_file)]
        settings = self.folder / "redis.conf"
        settings.write_text(f"user default off\nuser driftstack on >{password} ~driftstack:* -@all {COMMANDS}\n")
        command = [str(binary()), str(settings), *ports, "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=self.folder)  # noqa: ASYNC220
        await until(self._listens)

    def freeze(self) -> None:
        """Let it answer nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
