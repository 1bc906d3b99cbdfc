"""DevTools commands through the facade, beside the same at the agent's own door inside the same pod.

Both drive a page of the session's Chromium with the same program, in turns.
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from figures import Series, milliseconds
from harness import Row, Run, alone
from installation import Installation, pod_of, session

WARM_UP = 3
TITLES = {
    "devtools.agent.evaluate": "evaluate, agent's door",
    "devtools.agent.shot": "navigate and screenshot, agent's door",
    "devtools.facade.evaluate": "evaluate, facade",
    "devtools.facade.shot": "navigate and screenshot, facade",
}
PROGRAM = Path(__file__).with_name("devtools_rounds.py").read_text()


@contextmanager
def program(*command: str) -> Iterator[subprocess.Popen[str]]:
    """Start the program somewhere."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                sys.exit("no DevTools connection")
            yield process
        finally:
            process.terminate()


def take_round(process: subprocess.Popen[str]) -> tuple[float, float]:
    """Return the seconds of one evaluate, and of one navigate with its screenshot."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    evaluate, shot = process.stdout.readline().split()
    return float(evaluate) / 1000, float(shot) / 1000


def in_pod(installation: Installation, started: str) -> list[str]:
    """Return the command that runs the program in the session's pod, at the agent's door."""
    pod = pod_of(installation, started)
    (token,) = (
        each["value"] for each in pod["spec"]["containers"][0]["env"] if each["name"] == "DRIFTSTACK_AGENT_TOKEN"
    )
    path = f"/sessions/{started.removeprefix('ses_')}/cdp"
    command = installation.exec_in(pod["metadata"]["name"])
    return [*command, "python3", "-c", PROGRAM, "127.0.0.1", "8300", path, token, installation.page]


def by_facade(installation: Installation, started: str) -> list[str]:
    """Return the command that runs it here."""
    url = urlsplit(installation.call("GET", f"/v1/sessions/{started}")["connect_url"])
    token = installation.api.headers["Authorization"].removeprefix("Bearer ")
    port = str(url.port or 80)
    return [sys.executable, "-c", PROGRAM, str(url.hostname), port, url.path, token, installation.page]


def measure(run: Run) -> Sequence[Series]:
    """Take both in turns, so that noise meets both."""
    times: dict[str, list[float]] = defaultdict(list)
    installation = run.installation
    with (
        session(installation) as started,
        program(*in_pod(installation, started)) as direct,
        program(*by_facade(installation, started)) as through,
    ):
        for number in run.rounds(run.size + WARM_UP):
            taken = [*take_round(direct), *take_round(through)]
            if number >= WARM_UP:
                for key, seconds in zip(TITLES, taken, strict=True):
                    times[key].append(seconds)
    return [milliseconds(key, title, times[key]) for key, title in TITLES.items()]


ROW = Row("devtools", "DevTools commands through the facade, beside the agent's own door", measure, rounds=60)

if __name__ == "__main__":
    alone(ROW)
