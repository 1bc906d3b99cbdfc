"""Keeps the token from everything else that runs as the pod's user.

Chromium runs with the agent's uid, and raw CDP reads files as that user, /proc among them. So the token is wiped
from the block that /proc/<pid>/environ shows, and the process is made undumpable, which closes its whole /proc
folder and its memory to others of the same uid.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38
_M_MMAP_THRESHOLD: Final = -3

_libc = ctypes.CDLL(None, use_errno=True)


def harden() -> None:
    """Make the process undumpable, unable to gain rights, and the parent of its descendants' orphans.

    The last is what PID 1 of a container is anyway; asking for it makes the agent the same outside of one.

    Raises:
        OSError: the kernel refused.
    """
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def return_freed_memory() -> None:
    """Give every block over 256 KiB back to the kernel when it is freed.

    glibc otherwise learns from the first big capture to keep such blocks: megabytes for the rest of the session.
    """
    _libc.mallopt(_M_MMAP_THRESHOLD, 256 * 1024)


def forget_environment(name: str) -> None:
    """Overwrite a variable's value where the kernel shows it, and drop it from os.environ."""
    prefix = name.encode() + b"="
    environ = ctypes.POINTER(ctypes.c_void_p).in_dll(_libc, "environ")
    index = 0
    while address := environ[index]:
        text = ctypes.string_at(address)
        if text.startswith(prefix):
            ctypes.memset(address + len(prefix), ord("x"), len(text) - len(prefix))
        index += 1
    os.environ.pop(name, None)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}, {value}): {os.strerror(number)}")
