"""Collects ended children: PID 1 of a container inherits every orphan, and Chromium leaves many.

One place waits for all children, so nobody takes another's exit status: who wants to know one's end asks here. The
agent starts no processes through asyncio.
"""

from __future__ import annotations

import asyncio
import os
import signal


class Reaper:
    """Reaps on SIGCHLD; watch(pid) tells how a child ended."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._watched: dict[int, asyncio.Future[int]] = {}
        self._loop.add_signal_handler(signal.SIGCHLD, self.reap)

    def watch(self, pid: int) -> asyncio.Future[int]:
        """Return a future of the child's exit code, negative for a signal's number."""
        future = self._watched.setdefault(pid, self._loop.create_future())
        self.reap()
        return future

    def reap(self) -> None:
        """Collect every child that has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            future = self._watched.pop(pid, None)
            if future is not None and not future.done():
                future.set_result(os.waitstatus_to_exitcode(status))

    def close(self) -> None:
        """Stop reaping."""
        self._loop.remove_signal_handler(signal.SIGCHLD)
