"""`make bench`: all rows in one run; a table, and JSON, Markdown and a chart in `bench-results/`.

ROWS=cold,writes runs some of them, QUICK=1 takes a few rounds of each, ROUNDS sets how many. Exit code 0 even when
a bound is missed, unless STRICT=1; 1 when a row could not be measured.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import burst
import chart
import devtools
import lifecycle
import memory
import reads
import start
import steps
import warm
import writes
from figures import Bound, Series, Verdict, judge, markdown, plain, plain_verdict, table
from harness import Row, Run
from installation import ROOT

ROWS: Final = tuple(
    module.ROW for module in (warm, burst, start, lifecycle, steps, devtools, memory, writes, reads)
)
RESULTS: Final = ROOT / "bench-results"


@dataclass
class Report:
    """What a run found.

    Attributes:
        failed: rows that could not be measured, with the reason.
        loads: the machine's load average (1 minute) when each row began.
    """

    started: datetime
    quick: bool
    measured: dict[str, Sequence[Series]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    loads: dict[str, float] = field(default_factory=dict)
    bounds: list[Bound] = field(default_factory=list)

    @property
    def series(self) -> list[Series]:
        """All figures, in order."""
        return [series for measured in self.measured.values() for series in measured]

    @property
    def verdicts(self) -> list[Verdict]:
        """All bounds of rows that ran; one may compare with another row's figure."""
        return judge(self.bounds, self.series)

    def circumstances(self) -> dict[str, Any]:
        """Return what the figures depend on."""
        return {
            "time": self.started.isoformat(timespec="seconds"),
            "revision": _revision(),
            "quick": self.quick,
            "cores": os.cpu_count(),
            "processor": _processor(),
            "kernel": platform.release(),
            "load": self.loads,
        }

    def write(self, folder: Path) -> None:
        """Write bench.json, bench.md and bench.png."""
        folder.mkdir(exist_ok=True)
        rows = {name: [plain(series) for series in measured] for name, measured in self.measured.items()}
        found = {
            **self.circumstances(),
            "rows": rows,
            "bounds": [plain_verdict(verdict) for verdict in self.verdicts],
            "failed": self.failed,
        }
        (folder / "bench.json").write_text(json.dumps(found, indent=1) + "\n")
        (folder / "bench.md").write_text(self.page())
        chart.draw(self.measured, self.verdicts, folder / "bench.png")

    def page(self) -> str:
        """Return the figures as Markdown, with what they depend on."""
        loads = ", ".join(f"{name} {load:.1f}" for name, load in self.loads.items())
        heading = (
            f"Revision {_revision()}, {self.started:%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores ({_processor()}),"
            f" load when each row began: {loads}.{' A quick run: few rounds.' if self.quick else ''}\n\n"
        )
        left_out = "".join(f"\nNot measured: {name} ({why}).\n" for name, why in self.failed.items())
        return heading + markdown(self.series, self.verdicts) + left_out


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def chosen(names: str, rows: Sequence[Row] = ROWS) -> list[Row]:
    """Return the rows that ROWS names, in its order; all when it names none.

    Raises:
        ValueError: there is no such row; the message names those there are.
    """
    known = {row.name: row for row in rows}
    wanted = names.replace(",", " ").split()
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"no row {', '.join(unknown)}; there are: {', '.join(known)}")
    return [known[name] for name in wanted] or list(rows)


def cause(error: BaseException) -> str:
    """Return one line about what went wrong; of a group, about the first in it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = " ".join(str(error).split())[:500]
    return said if said and isinstance(error, SystemExit) else f"{type(error).__name__} {said}".strip()


def measure(rows: Sequence[Row], run: Run, report: Report) -> None:
    """Measure the rows one after the other; one that fails is left out of the report, with its reason."""
    for number, row in enumerate(rows, 1):
        print(f"\n[{number}/{len(rows)}] {row.title} ({row.name})", flush=True)
        report.loads[row.name] = os.getloadavg()[0]
        run.begin(row)
        began = time.monotonic()
        try:
            measured = row.measure(run)
        except KeyboardInterrupt:
            raise
        except (Exception, SystemExit) as error:  # the other rows are worth having all the same
            report.failed[row.name] = cause(error)
            print(f"not measured: {report.failed[row.name]}", flush=True)
            continue
        report.measured[row.name] = measured
        report.bounds += row.bounds
        print(
            f"{table(measured, judge(row.bounds, report.series))}\n({time.monotonic() - began:.0f} s)", flush=True
        )


def main() -> None:
    """Run, write, and say what came of it."""
    try:
        rows = chosen(os.environ.get("ROWS", ""))
    except ValueError as error:
        sys.exit(f"bench: {error}")
    with ExitStack() as stack:
        run = Run(stack)
        report = Report(datetime.now(UTC), run.quick)
        if any(row.cluster for row in rows):
            _ = run.installation  # none: say so before anything else
        try:
            measure(rows, run, report)
        finally:
            if report.measured:
                report.write(RESULTS)
    missed = [verdict for verdict in report.verdicts if not verdict.kept]
    print(f"\n{len(report.verdicts) - len(missed)} of {len(report.verdicts)} bounds kept")
    for verdict in missed:
        print(f"  {verdict.bound.key}: {verdict}")
    for name, why in report.failed.items():
        print(f"  {name} was not measured: {why}")
    print(f"{RESULTS}/bench.json, bench.md and bench.png")
    strict = os.environ.get("STRICT", "") not in ("", "0")
    sys.exit(1 if report.failed or (missed and strict) else 0)


if __name__ == "__main__":
    main()
