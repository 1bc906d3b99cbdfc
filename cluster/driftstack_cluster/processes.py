"""The node's processes: started so that they outlive us, found again by their records.

A record holds the process id with its start time (ids are reused) and a fingerprint of the command
line and its configuration files, so a change of either restarts exactly that process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from driftstack_cluster import namespaces
from driftstack_cluster.certificates import write_atomically
from driftstack_cluster.errors import NotReady
from driftstack_cluster.shell import local_environment

_LOG_LIMIT = 64 * 1024 * 1024
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Process:
    """A process as it should be.

    Attributes:
        name: unique in the cluster; also the name of its log.
        argv: the command line.
        namespace: network namespace to run in.
        inputs: files whose change means a restart.
        is_healthy: a quick check that never raises.
        start_seconds: how long it may take until it is healthy.
    """

    name: str
    argv: tuple[str, ...]
    namespace: str
    is_healthy: Callable[[], bool]
    inputs: tuple[Path, ...] = ()
    start_seconds: float = 60.0

    def fingerprint(self) -> str:
        """Changes with the command line, or with the content of an input."""
        digest = hashlib.sha256("\0".join((self.namespace, *self.argv)).encode())
        for file in self.inputs:
            digest.update(file.read_bytes() if file.exists() else b"missing")
        return digest.hexdigest()[:16]


class Supervisor:
    """Starts, finds and stops the processes of one cluster."""

    def __init__(self, records: Path, logs: Path) -> None:
        self.records = records
        self.logs = logs

    def running(self, process: Process) -> bool:
        """Whether it runs as it should; says nothing of its health."""
        record = self._read(process.name)
        return (
            record is not None
            and record.get("fingerprint") == process.fingerprint()
            and is_alive(record)
            # A namespace made anew after a reboot or a crash is another one.
            and record.get("namespace") == _namespace_inode(process.namespace)
        )

    def ensure(self, process: Process) -> bool:
        """Starts it, or restarts it when changed or ill; true if it had to."""
        if self.running(process) and (process.is_healthy() or self._becomes_healthy(process, 5.0)):
            return False
        self.stop(process.name)
        self.start(process)
        return True

    def start(self, process: Process) -> None:
        """Starts it in a session of its own, with its output in its log."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.log(process.name)
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        argv = ["nsenter", f"--net={namespaces.path(process.namespace)}", "--", *process.argv]
        with log.open("ab") as output:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
                env=_environment(),
            )
        record = {
            "pid": child.pid,
            "started": start_time(child.pid),
            "fingerprint": process.fingerprint(),
            "namespace": _namespace_inode(process.namespace),
        }
        write_atomically(self._record(process.name), json.dumps(record).encode())

    def wait(self, process: Process) -> None:
        """Waits until it is healthy.

        Raises:
            NotReady: it ended, or was not healthy in time; with the end of its log.
        """
        if not self._becomes_healthy(process, process.start_seconds):
            record = self._read(process.name)
            what = "is not healthy" if record and is_alive(record) else "ended"
            raise NotReady(
                f"{process.name} {what} after its start\n{self.tail(process.name)}",
                f"Its log: {self.log(process.name)}. Run `make up` again; if it stays so, `make down` first.",
            )

    def stop(self, name: str, seconds: float = _STOP_SECONDS) -> None:
        """Ends a process if it runs, and forgets it."""
        record = self._read(name)
        if record is not None and is_alive(record):
            end(int(record["pid"]), seconds)
        self._record(name).unlink(missing_ok=True)

    def stop_all(self, names: Iterable[str], seconds: float) -> None:
        """Ends several at once, and forgets them."""
        chosen = list(names)
        records = [record for name in chosen if (record := self._read(name)) and is_alive(record)]
        end_all([int(record["pid"]) for record in records], seconds)
        for name in chosen:
            self._record(name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """All that were started and not stopped."""
        return sorted(file.stem for file in self.records.glob("*.json"))

    def pid(self, name: str) -> int:
        """A process's id, 0 if it has none."""
        record = self._read(name)
        return int(record["pid"]) if record is not None else 0

    def alive(self) -> list[str]:
        """Those of them that run."""
        return [name for name in self.names() if (record := self._read(name)) and is_alive(record)]

    def log(self, name: str) -> Path:
        """A process's log."""
        return self.logs / f"{name}.log"

    def tail(self, name: str, lines: int = 8) -> str:
        """The end of a process's log."""
        with contextlib.suppress(OSError), self.log(name).open("rb") as file:
            file.seek(max(0, self.log(name).stat().st_size - 16384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
        return ""

    def _becomes_healthy(self, process: Process, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not process.is_healthy():
            record = self._read(process.name)
            if record is None or not is_alive(record) or time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def _record(self, name: str) -> Path:
        return self.records / f"{name}.json"

    def _read(self, name: str) -> dict[str, str | int] | None:
        try:
            record = json.loads(self._record(name).read_text())
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) and isinstance(record.get("pid"), int) else None


def start_time(pid: int) -> int:
    """When a process began, in clock ticks since boot; 0 if there is none.

    A zombie counts as none: it has ended, only its parent has not asked yet.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in {"Z", "X"} else int(fields[19])


def is_alive(record: dict[str, str | int]) -> bool:
    """Whether the very process of a record still runs."""
    started = start_time(int(record["pid"]))
    return started != 0 and started == record.get("started")


def end(pid: int, seconds: float = _STOP_SECONDS) -> None:
    """Asks a process to end, then makes it."""
    end_all([pid], seconds)


def end_all(pids: Iterable[int], seconds: float = _STOP_SECONDS) -> None:
    """Asks processes to end, then makes those that have not."""
    waiting = {pid: start_time(pid) for pid in pids}
    for sign, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        waiting = {pid: started for pid, started in waiting.items() if started and start_time(pid) == started}
        for pid in waiting:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
        deadline = time.monotonic() + patience
        while any(start_time(pid) == started for pid, started in waiting.items()):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)


def _namespace_inode(namespace: str) -> int:
    try:
        return namespaces.path(namespace).stat().st_ino
    except OSError:
        return 0


def _environment() -> dict[str, str]:
    kept = ("PATH", "HOME", "LANG", "TZ")
    everything = local_environment()
    return {name: everything[name] for name in kept if name in everything}
