"""One line per step with its elapsed time: a spinner on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.status import Status

_FIRST_REMINDER_SECONDS = 10.0
_REMINDER_SECONDS = 60.0


@dataclass
class Step:
    """A step under way; what `note` says last is shown beside its title."""

    title: str
    started: float = field(default_factory=time.monotonic)
    detail: str = ""
    _status: Status | None = None

    def note(self, detail: str) -> None:
        """Says what the step is doing or has found."""
        self.detail = detail
        if self._status is not None:
            self._status.update(self.line())

    def elapsed(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self.started

    def line(self) -> str:
        """Title and detail in one line."""
        return f"{self.title}: {self.detail}" if self.detail else self.title


class Progress:
    """Where steps report to. Not thread-safe: one step at a time."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr, highlight=False, soft_wrap=not sys.stderr.isatty())
        self.started = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Shows a step until the block ends, then one line with its time."""
        step = Step(title)
        if self.console.is_terminal:
            with self._spinner(step):
                yield step
        else:
            with self._reminders(step):
                yield step

    def info(self, text: str) -> None:
        """A line of its own."""
        self.console.print(f"        {text}", markup=False)

    def warn(self, text: str) -> None:
        """A line that must not be overlooked."""
        self.console.print(f"warning {text}", style="yellow", markup=False)

    def error(self, text: str, hint: str) -> None:
        """The end of the command: what happened and what to do."""
        self.console.print(f"error: {text}", style="red", markup=False)
        if hint:
            self.console.print(hint, markup=False)

    def total(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self.started

    @contextmanager
    def _spinner(self, step: Step) -> Iterator[None]:
        with self.console.status(step.title) as status:
            step._status = status
            done = threading.Event()
            ticker = threading.Thread(target=_tick, args=(step, status, done), daemon=True)
            ticker.start()
            try:
                yield
            except BaseException:
                self._finish(step, "failed")
                raise
            finally:
                done.set()
                ticker.join()
        self._finish(step, "")

    @contextmanager
    def _reminders(self, step: Step) -> Iterator[None]:
        done = threading.Event()
        reminder = threading.Thread(target=self._remind, args=(step, done), daemon=True)
        reminder.start()
        try:
            yield
        except BaseException:
            self._finish(step, "failed")
            raise
        finally:
            done.set()
            reminder.join()
        self._finish(step, "")

    def _remind(self, step: Step, done: threading.Event) -> None:
        pause = _FIRST_REMINDER_SECONDS
        while not done.wait(pause):
            pause = _REMINDER_SECONDS
            self.console.print(f"        still at it ({step.elapsed():.0f} s): {step.line()}", markup=False)

    def _finish(self, step: Step, verdict: str) -> None:
        suffix = f" ({verdict})" if verdict else ""
        style = "red" if verdict else None
        self.console.print(f"{step.elapsed():6.1f}s {step.line()}{suffix}", style=style, markup=False)


def _tick(step: Step, status: Status, done: threading.Event) -> None:
    while not done.wait(1.0):
        status.update(f"{step.line()} ({step.elapsed():.0f} s)")
