"""Running a function inside a network namespace: health checks that no port of the host is given for."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from driftstack_cluster.errors import ClusterError

_CLONE_NEWNET = 0x40000000
_FOLDER = Path("/run/netns")

Result = TypeVar("Result")


def path(namespace: str) -> Path:
    """Where `ip netns` keeps a namespace."""
    return _FOLDER / namespace


def exists(namespace: str) -> bool:
    """Whether the namespace is there and really one (a crash can leave an empty file)."""
    file = path(namespace)
    return file.exists() and os.path.ismount(file)


def inside(namespace: str, function: Callable[[], Result]) -> Result:
    """Calls `function` in a thread that has entered the namespace; no other thread is touched."""
    results: list[Result] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            _enter(namespace)
            results.append(function())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, name=f"in-{namespace}")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _enter(namespace: str) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    with path(namespace).open("rb") as file:
        if library.setns(file.fileno(), _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise ClusterError(f"cannot enter the network namespace {namespace}: {os.strerror(code)}")
