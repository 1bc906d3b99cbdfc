"""The one shape of benchmarks: a row says what it measures, and runs alone or as part of `make bench`.

    ROW = Row("name", "what it is", measure, bounds=(…,), rounds=20, quick=5)

    if __name__ == "__main__":
        alone(ROW)

`measure(run)` returns series of figures; what is compared is taken in turns, so that noise meets both. ROUNDS sets
how often a row measures, QUICK=1 takes a few rounds only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property

from figures import Bound, Series, judge, table
from installation import Installation, open_installation


class Run:
    """What a row measures with.

    Attributes:
        size: how many rounds to take; a row may measure fewer of what is slow.
        quick: a trial run.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.quick = os.environ.get("QUICK", "") not in ("", "0")
        self.size = 0
        self._stack = stack

    @cached_property
    def installation(self) -> Installation:
        """The installation of `make demo`; ends the run where there is none."""
        return self._stack.enter_context(open_installation())

    def begin(self, row: Row) -> None:
        """Set the size to the row's, unless ROUNDS says otherwise."""
        self.size = int(os.environ.get("ROUNDS") or (row.quick if self.quick else row.rounds))

    def rounds(self, size: int | None = None) -> Iterator[int]:
        """Count the rounds, and show it where somebody watches."""
        size = size or self.size
        for done in range(size):
            progress(f"{done}/{size}")
            yield done
        progress("")


def progress(text: str) -> None:
    """Show how far it is, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Row:
    """One benchmark.

    Attributes:
        name: what ROWS= calls it.
        rounds, quick: how often it measures, and in a trial run.
        cluster: whether it needs the installation of `make demo`.
    """

    name: str
    title: str
    measure: Callable[[Run], Sequence[Series]]
    bounds: Sequence[Bound] = ()
    rounds: int = 20
    quick: int = 5
    cluster: bool = True


def alone(row: Row) -> None:
    """Measure one row and print its figures."""
    with ExitStack() as stack:
        run = Run(stack)
        run.begin(row)
        measured = row.measure(run)
    print(f"{row.title}\n{table(measured, judge(row.bounds, measured))}")
