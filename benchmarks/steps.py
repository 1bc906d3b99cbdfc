"""Navigate and capture through the facade, beside the same two over the DevTools pipe inside the same pod.

Both load the same page, in turns, in the same pod: one in the session's Chromium by REST, one in a second Chromium
that a program in the pod drives. Bound: the median by REST is at most 1.15 times the pipe's. ROUNDS sets how often
(default 60).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from installation import Installation, open_installation, rounds, show

BROWSERS = "driftstack-browsers"
WARM_UP = 3
BOUND = 1.15


@contextmanager
def pipe(installation: Installation, pod: str) -> Iterator[subprocess.Popen[str]]:
    """Start pipe_steps.py in the pod."""
    program = Path(__file__).with_name("pipe_steps.py").read_text()
    command = [installation.kubectl, "--kubeconfig", installation.kubeconfig, "exec", "-i", "-n", BROWSERS, pod]
    command += ["--", "python3", "-c", program, installation.page]
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


def main() -> None:
    """Take both in turns, so that noise meets both."""
    with open_installation() as installation:
        session = installation.call("POST", "/v1/sessions", {}, Prefer="wait=30")["id"]
        selector = f"driftstack.dev/session={session.removeprefix('ses_')}"
        pod = installation.run_kubectl("get", "pods", "-n", BROWSERS, "-l", selector, "-o", "name").strip()
        rest, raw = [], []
        with pipe(installation, pod) as process:
            for number in range(-WARM_UP, rounds(60)):
                taken = by_pipe(process), by_rest(installation, session)
                if number >= 0:
                    raw.append(taken[0])
                    rest.append(taken[1])
        installation.call("DELETE", f"/v1/sessions/{session}")
        show("DevTools pipe in the pod", raw)
        show("REST through the facade", rest)
        print(f"ratio of medians {statistics.median(rest) / statistics.median(raw):.2f} (bound {BOUND})")


if __name__ == "__main__":
    main()
