"""Start-up of the `driftstack` command: help and completion, beside an interpreter that does nothing."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 20
DRIFTSTACK = str(Path(sys.executable).with_name("driftstack"))
COMPLETE = {
    "_DRIFTSTACK_COMPLETE": "complete_bash",
    "COMP_WORDS": "driftstack session c",
    "COMP_CWORD": "2",
}
CASES: dict[str, tuple[list[str], dict[str, str]]] = {
    "python -c pass": ([sys.executable, "-c", "pass"], {}),
    "driftstack --help": ([DRIFTSTACK, "--help"], {}),
    "driftstack session create --help": ([DRIFTSTACK, "session", "create", "--help"], {}),
    "completion of `driftstack session c`": ([DRIFTSTACK], COMPLETE),
}


def once(command: list[str], variables: dict[str, str]) -> float:
    """Return how long a process takes, milliseconds."""
    started = time.perf_counter()
    subprocess.run(command, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - started) * 1000


def main() -> None:
    """Run all in turns, so that what else the machine does hits each alike."""
    taken: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(RUNS):
        for name, case in CASES.items():
            taken[name].append(once(*case))
    for name, times in taken.items():
        p95 = statistics.quantiles(times, n=20)[-1]
        print(f"{name:<37} {statistics.median(times):6.0f} ms median, {p95:6.0f} ms p95")


if __name__ == "__main__":
    main()
