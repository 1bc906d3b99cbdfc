"""The figures of scale.py as tables (markdown) and as JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from scale_load import Outcome
from scale_usage import (
    AGENTS,
    API_SERVER,
    CLIENT,
    CONTROLLERS,
    ETCD,
    FACADE,
    IDLE,
    KWOK,
    LEADER,
    NODE_PARTS,
    OTHERS,
    SCHEDULER,
    STANDBY,
    Usage,
)

START_BOUND: Final = 20.0
STEADY_BOUND: Final = 5.0
"""Per cent of a core."""
MEMORY_BOUND: Final = 250.0
P99_BOUND: Final = 0.5
AIM: Final = 15
"""Creates per second on 2 cores."""
OURS: Final = (LEADER, STANDBY, FACADE)
PARTS: Final = (API_SERVER, ETCD, CONTROLLERS, SCHEDULER, NODE_PARTS, *OURS, KWOK, AGENTS, CLIENT, OTHERS, IDLE)


@dataclass(frozen=True)
class Level:
    """What was measured with so many live sessions.

    Attributes:
        p50, p99: create to ready, seconds.
        steady, probing: cores by part while nothing happened, and while sessions came and went.
        session_ms: CPU of each part for one session's whole life, milliseconds.
        writes: of all parts for one session's whole life; Events and leases apart.
        memory: MiB PSS of our parts, and of the API server and its store.
    """

    live: int
    sessions: int
    p50: float
    p99: float
    steady: dict[str, float]
    session_ms: dict[str, float]
    writes: float
    memory: dict[str, float]
    errors: dict[str, int]


@dataclass(frozen=True)
class Step:
    """Sessions that came and went at one rate (per second)."""

    rate: int
    sessions: int
    p50: float
    p99: float
    cores: dict[str, float]
    errors: dict[str, int]

    @property
    def holds(self) -> bool:
        """Whether the rate can be sustained."""
        return self.p99 < P99_BOUND and not self.errors


@dataclass
class Report:
    """All figures of one run."""

    about: dict[str, Any]
    levels: list[Level] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    starts: dict[str, float] = field(default_factory=dict)

    @property
    def sustained(self) -> int:
        """The highest rate that held."""
        return max((step.rate for step in self.steps if step.holds), default=0)

    def as_json(self) -> str:
        """Return everything; seconds that never ended are null."""
        found = {**asdict(self), "sustained": self.sustained}
        return json.dumps(found, indent=2, default=str).replace("Infinity", "null")

    def as_markdown(self) -> str:
        """Return the tables that people read."""
        parts = [_about(self.about), _curve(self.levels), _steady(self.levels), _bounds(self), _rates(self.steps)]
        return "\n\n".join(part for part in parts if part) + "\n"


def percentiles(outcome: Outcome) -> tuple[float, float]:
    """Return p50 and p99 of the seconds until ready; what never was ready counts as infinite."""
    seconds = sorted(outcome.seconds)
    if not seconds:
        return math.inf, math.inf
    return statistics.median_low(seconds), seconds[min(len(seconds) - 1, math.ceil(len(seconds) * 0.99) - 1)]


def session_cost(steady: Usage, probing: Usage, sessions: int) -> dict[str, float]:
    """Return the milliseconds of CPU that each part spent on one session, beyond what it always spends."""
    extra = {name: cores - steady.cores.get(name, 0.0) for name, cores in probing.cores.items() if name != IDLE}
    return {name: max(0.0, cores * probing.seconds / sessions * 1000) for name, cores in extra.items()}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" + "---:|" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _about(about: dict[str, Any]) -> str:
    return "; ".join(f"{name} {value}" for name, value in about.items())


def milliseconds(seconds: float) -> str:
    """Return seconds as people read them in these tables."""
    return "never" if math.isinf(seconds) else f"{seconds * 1000:.0f}"


def _curve(levels: list[Level]) -> str:
    shown = (API_SERVER, ETCD, CONTROLLERS, *OURS)
    head = ("live", "n", "p50 ms", "p99 ms", *(f"{part} ms" for part in shown), "writes", "errors")
    rows = [
        (
            str(level.live),
            str(level.sessions),
            milliseconds(level.p50),
            milliseconds(level.p99),
            *(f"{level.session_ms.get(part, 0):.1f}" for part in shown),
            f"{level.writes:.1f}",
            str(sum(level.errors.values())),
        )
        for level in levels
    ]
    return "Create to ready, and CPU and writes of one session's whole life:\n\n" + _table(head, rows)


def _steady(levels: list[Level]) -> str:
    shown, sized = (*OURS, API_SERVER, ETCD, CONTROLLERS, OTHERS), (*OURS, API_SERVER, ETCD)
    head = ("live", *(f"{part} %" for part in shown), *(f"{part} MiB" for part in sized))
    rows = [
        (
            str(level.live),
            *(f"{level.steady.get(part, 0) * 100:.1f}" for part in shown),
            *(f"{level.memory[part]:.0f}" for part in sized),
        )
        for level in levels
    ]
    return "Per cent of a core while nothing happens, and memory (PSS):\n\n" + _table(head, rows)


def _bounds(report: Report) -> str:
    if not report.levels:
        return ""
    last = report.levels[-1]
    measured = [(f"{part} in charge, s", seconds, START_BOUND) for part, seconds in report.starts.items()]
    measured += [(f"{part} steady, % of a core", last.steady.get(part, 0) * 100, STEADY_BOUND) for part in OURS]
    measured += [(f"{part} memory, MiB", last.memory[part], MEMORY_BOUND) for part in OURS]
    rows = [
        (name, f"{value:.1f}", f"< {bound:.0f}", "yes" if value < bound else "NO")
        for name, value, bound in measured
    ]
    if report.steps:
        held = "yes" if report.sustained >= AIM else "NO"
        rows.append(("creates and ends per second, p99 < 500 ms", str(report.sustained), f">= {AIM}", held))
    return f"With {last.live} live:\n\n" + _table(("what", "measured", "bound", "holds"), rows)


def _rates(steps: list[Step]) -> str:
    if not steps:
        return ""
    head = ("per second", "n", "p50 ms", "p99 ms", "errors", "holds", *PARTS)
    rows = [
        (
            str(step.rate),
            str(step.sessions),
            milliseconds(step.p50),
            milliseconds(step.p99),
            str(sum(step.errors.values())),
            "yes" if step.holds else "NO",
            *(f"{step.cores.get(part, 0):.2f}" for part in PARTS),
        )
        for step in sorted(steps, key=lambda step: step.rate)
    ]
    return "Cores that each part uses at each rate of creates and as many ends:\n\n" + _table(head, rows)
