"""DevTools commands through the facade, beside the same at the agent's own door inside the same pod.

Both drive a page of the session's Chromium with the same program, in turns. ROUNDS sets how often (default 60).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from installation import Installation, open_installation, rounds, show

BROWSERS = "driftstack-browsers"
WARM_UP = 3
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


def in_pod(installation: Installation, session: str) -> list[str]:
    """Return the command that runs the program in the session's pod, at the agent's door."""
    selector = f"driftstack.dev/session={session.removeprefix('ses_')}"
    listed = installation.run_kubectl("get", "pods", "-n", BROWSERS, "-l", selector, "-o", "json")
    (pod,) = json.loads(listed)["items"]
    (token,) = (
        each["value"] for each in pod["spec"]["containers"][0]["env"] if each["name"] == "DRIFTSTACK_AGENT_TOKEN"
    )
    path = f"/sessions/{session.removeprefix('ses_')}/cdp"
    command = [installation.kubectl, "--kubeconfig", installation.kubeconfig, "exec", "-i", "-n", BROWSERS]
    command += [pod["metadata"]["name"], "--", "python3", "-c", PROGRAM]
    return [*command, "127.0.0.1", "8300", path, token, installation.page]


def by_facade(installation: Installation, session: str) -> list[str]:
    """Return the command that runs it here."""
    url = urlsplit(installation.call("GET", f"/v1/sessions/{session}")["connect_url"])
    token = installation.api.headers["Authorization"].removeprefix("Bearer ")
    port = str(url.port or 80)
    return [sys.executable, "-c", PROGRAM, str(url.hostname), port, url.path, token, installation.page]


def main() -> None:
    """Take both in turns, so that noise meets both."""
    with open_installation() as installation:
        session = installation.call("POST", "/v1/sessions", {}, Prefer="wait=30")["id"]
        agent: list[tuple[float, float]] = []
        facade: list[tuple[float, float]] = []
        with (
            program(*in_pod(installation, session)) as direct,
            program(*by_facade(installation, session)) as through,
        ):
            for number in range(-WARM_UP, rounds(60)):
                taken = take_round(direct), take_round(through)
                if number >= 0:
                    agent.append(taken[0])
                    facade.append(taken[1])
        installation.call("DELETE", f"/v1/sessions/{session}")
        for name, index in (("evaluate", 0), ("navigate and screenshot", 1)):
            direct_times, through_times = ([each[index] for each in series] for series in (agent, facade))
            show(f"{name}, agent's door", direct_times)
            show(f"{name}, facade", through_times)
            added = statistics.median(through_times) - statistics.median(direct_times)
            ratio = statistics.median(through_times) / statistics.median(direct_times)
            print(f"ratio of medians {ratio:.2f}, added {added * 1000:.2f} ms")


if __name__ == "__main__":
    main()
