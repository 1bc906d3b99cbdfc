"""API-server writes of a session's life (create, ready, delete, gone), from the server's own metrics.

Budget: 8 by our own components, 25 in all; Events, leases and the marks of steps apart. ROUNDS sets how many
sessions (default 10).
"""

from __future__ import annotations

import re
import time
from collections import Counter

from installation import Installation, open_installation, rounds

LINE = re.compile(r"^apiserver_request_total\{(?P<labels>.*)\} (?P<value>\S+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')
WRITES = {"POST", "PUT", "PATCH", "DELETE", "APPLY"}
# Written by our operator and facade. A pod is deleted twice: by the operator, and by the kubelet in the end.
OURS = {"accounts/status", "browsersessions", "browsersessions/status", "sessionrecords", "pods"}
BY_KUBELET = {("pods", "DELETE"): 1.0}
APART = {"events", "leases"}


def writes(installation: Installation) -> Counter[tuple[str, str]]:
    """Return the successful writes so far, by resource and verb."""
    found: Counter[tuple[str, str]] = Counter()
    for line in installation.run_kubectl("get", "--raw", "/metrics").splitlines():
        match = LINE.match(line)
        labels = dict(LABEL.findall(match["labels"])) if match else {}
        if match and labels["verb"] in WRITES and labels["code"].startswith("2"):
            resource = "/".join(part for part in (labels["resource"], labels["subresource"]) if part)
            found[resource, labels["verb"]] += int(float(match["value"]))
    return found


def live(installation: Installation, sessions: int) -> None:
    """Let sessions live one after the other, until their pods are gone."""
    for _ in range(sessions):
        session = installation.call("POST", "/v1/sessions", {}, Prefer="wait=30")["id"]
        installation.call("DELETE", f"/v1/sessions/{session}")
    installation.wait_for_no_pods()


def main() -> None:
    """Print the writes per session by resource, ours and all."""
    sessions = rounds(10)
    with open_installation() as installation:
        installation.wait_for_no_pods()
        before, started = writes(installation), time.monotonic()
        live(installation, sessions)
        after, busy_seconds = writes(installation), time.monotonic() - started
        time.sleep(busy_seconds)
        idle = writes(installation) - after
    print(f"{'resource':<34}{'verb':<9}{'per session':>12}   (an idle cluster's own writes taken off)")
    ours = everything = 0.0
    for key, count in sorted(((after - before) - idle).items()):
        resource, verb = key
        each = count / sessions
        print(f"{resource:<34}{verb:<9}{each:>12.1f}")
        everything += 0 if resource in APART else each
        ours += each - BY_KUBELET.get(key, 0) if resource in OURS else 0
    print(f"ours {ours:.1f} (budget 8), all {everything:.1f} (budget 25); events and leases apart")


if __name__ == "__main__":
    main()
