"""What a command waits for, on stderr: a spinner with the elapsed time, or now and then a line."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from driftstack_cli.output import clean

PATIENCE: Final = 2.0
"""Seconds without a word: what is quicker needs none."""
_REMINDER: Final = 15.0


class Waiting:
    """A wait under way; `detail` is what it waits for right now."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self._started = time.monotonic()

    @property
    def line(self) -> str:
        """Title, detail and elapsed time."""
        told = f"{self.title}: {self.detail}" if self.detail else self.title
        return clean(f"{told} ({time.monotonic() - self._started:.0f} s)")


@contextmanager
def waiting(title: str) -> Iterator[Waiting]:
    """Show the wait, once it has lasted PATIENCE, until the block ends."""
    wait = Waiting(title)
    over = threading.Event()
    teller = threading.Thread(target=_tell, args=(wait, over), daemon=True)
    teller.start()
    try:
        yield wait
    finally:
        over.set()
        teller.join()


def _tell(wait: Waiting, over: threading.Event) -> None:
    if over.wait(PATIENCE):
        return
    if sys.stderr.isatty():
        _spin(wait, over)
        return
    while True:
        print(wait.line, file=sys.stderr, flush=True)
        if over.wait(_REMINDER):
            return


def _spin(wait: Waiting, over: threading.Event) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    with console.status(Text(wait.line)) as status:
        while not over.wait(0.5):
            status.update(Text(wait.line))
