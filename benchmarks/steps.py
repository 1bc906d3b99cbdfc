"""Navigate and capture through the facade, beside the same two over the DevTools pipe inside the same pod.

Both load the same page, in turns, in the same pod: one in the session's Chromium by REST, one in a second Chromium
that a program in the pod drives.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from figures import Bound, Series, milliseconds
from harness import Row, Run, alone
from installation import Installation, pod_of, session

WARM_UP = 3


@contextmanager
def pipe(installation: Installation, pod: str) -> Iterator[subprocess.Popen[str]]:
    """Start pipe_steps.py in the pod."""
    program = Path(__file__).with_name("pipe_steps.py").read_text()
    command = [*installation.exec_in(pod), "python3", "-c", program, installation.page]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                sys.exit("the second Chromium does not start in the pod")
            yield process
        finally:
            process.terminate()


def by_pipe(process: subprocess.Popen[str]) -> float:
    """Return the seconds of one round in the pod."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline()) / 1000


def by_rest(installation: Installation, session: str) -> float:
    """Return the seconds of one round by REST."""
    started = time.perf_counter()
    installation.call("POST", f"/v1/sessions/{session}/navigate", {"url": installation.page})
    installation.call("POST", f"/v1/sessions/{session}/capture", {"kind": "screenshot"})
    return time.perf_counter() - started


def measure(run: Run) -> Sequence[Series]:
    """Take both in turns, so that noise meets both."""
    installation = run.installation
    rest, raw = [], []
    with session(installation) as started:
        pod = pod_of(installation, started)["metadata"]["name"]
        with pipe(installation, pod) as process:
            for number in run.rounds(run.size + WARM_UP):
                taken = by_pipe(process), by_rest(installation, started)
                if number >= WARM_UP:
                    raw.append(taken[0])
                    rest.append(taken[1])
    return [
        milliseconds("steps.pipe", "navigate and capture, DevTools pipe in the pod", raw),
        milliseconds("steps.rest", "navigate and capture, REST", rest),
    ]


ROW = Row(
    "steps",
    "Steps by REST, beside the raw DevTools pipe",
    measure,
    bounds=(Bound("steps.rest", 1.15, against="steps.pipe"),),
    rounds=60,
)

if __name__ == "__main__":
    alone(ROW)
