"""One command at a time per node; the second says who it waits for."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from driftstack_cluster.errors import Busy, Precondition


@contextmanager
def held(file: Path, purpose: str, say: Callable[[str], None], wait_seconds: float = 1800.0) -> Iterator[None]:
    """Holds the lock while the block runs.

    Args:
        file: the lock; it holds who has it.
        purpose: what the holder does, for whoever waits.
        say: told once when somebody else has it.
        wait_seconds: how long to wait for them.

    Raises:
        Busy: they still had it after that time.
    """
    handle = _acquire(file, say, wait_seconds)
    try:
        handle.seek(0)
        handle.truncate()
        handle.write(json.dumps({"pid": os.getpid(), "purpose": purpose, "since": time.strftime("%H:%M:%S")}))
        handle.flush()
        yield
    finally:
        # Unlinked while held: whoever waits on the old file notices and opens the new one.
        file.unlink(missing_ok=True)
        handle.close()


def _acquire(file: Path, say: Callable[[str], None], wait_seconds: float) -> IO[str]:
    deadline = time.monotonic() + wait_seconds
    told = False
    while True:
        handle = _open(file)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
        else:
            if _is_same(handle, file):
                return handle
            handle.close()
            continue
        if time.monotonic() > deadline:
            raise Busy(f"{_holder(file)} still works on this node", "Wait for it, or end it.")
        if not told:
            say(f"{_holder(file)} works on this node; waiting for it")
            told = True
        time.sleep(0.5)


def _open(file: Path) -> IO[str]:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        return os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o600), "r+")
    except PermissionError as error:
        raise Precondition(f"{file} is not writable", "Run it as root (sudo).") from error


def _is_same(handle: IO[str], file: Path) -> bool:
    try:
        return os.fstat(handle.fileno()).st_ino == file.stat().st_ino
    except FileNotFoundError:
        return False


def _holder(file: Path) -> str:
    try:
        record = json.loads(file.read_text())
        return f"`{record['purpose']}` (process {record['pid']}, since {record['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another command"
