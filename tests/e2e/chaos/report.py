"""What was done to the cluster, how often, how long it took to recover, and what was lost."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Fault:
    """One kind of fault.

    Attributes:
        times: how often it was done.
        recovered: seconds until all was as it should be again, one per time it was measured.
        lost: sessions without a record, leaked pods, whatever must be 0.
    """

    times: int = 0
    recovered: list[float] = field(default_factory=list)
    lost: int = 0


class Report:
    """Collects; the end of the run prints it."""

    def __init__(self) -> None:
        self.faults: dict[str, Fault] = defaultdict(Fault)

    def add(self, what: str, recovered: float | None = None, *, lost: int = 0) -> None:
        """Take one fault in."""
        fault = self.faults[what]
        fault.times += 1
        fault.lost += lost
        if recovered is not None:
            fault.recovered.append(recovered)

    def lines(self) -> list[str]:
        """Return the table for people."""
        width = max((len(what) for what in self.faults), default=0)
        head = f"{'what was done':{width}}  times  recovery p50      max  lost"
        return [head, *(f"{what:{width}}  {_figures(fault)}" for what, fault in self.faults.items())]

    def write(self, path: Path) -> None:
        """Write it for programs."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({what: vars(fault) for what, fault in self.faults.items()}, indent=2))


def _figures(fault: Fault) -> str:
    if not fault.recovered:
        return f"{fault.times:5}  {'-':>12} {'-':>8}  {fault.lost:4}"
    middle, most = statistics.median(fault.recovered), max(fault.recovered)
    return f"{fault.times:5}  {middle:10.2f} s {most:6.2f} s  {fault.lost:4}"
