"""API-server writes and requests of a session's life (create, ready, delete, gone), from the server's own metrics.

By resource and verb; 8 by our own components and 25 in all are the bounds, Events and leases apart. With warm pods,
their replacement is part of it.
"""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Sequence

from figures import Bound, Series
from harness import Row, Run, alone
from installation import Installation

LINE = re.compile(r"^apiserver_request_total\{(?P<labels>.*)\} (?P<value>\S+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')
WRITES = {"POST", "PUT", "PATCH", "DELETE", "APPLY"}
# Written by our operator and facade. A pod is deleted twice: by the operator, and by the kubelet in the end.
OURS = {"accounts/status", "browsersessions", "browsersessions/status", "sessionrecords", "pods"}
BY_KUBELET = {("pods", "DELETE"): 1.0}
APART = {"events", "leases"}
UNIT = "per session"


def requests(installation: Installation) -> Counter[tuple[str, str]]:
    """Return the successful requests so far, by resource and verb; a watch counts when it ends."""
    found: Counter[tuple[str, str]] = Counter()
    for line in installation.run_kubectl("get", "--raw", "/metrics").splitlines():
        match = LINE.match(line)
        labels = dict(LABEL.findall(match["labels"])) if match else {}
        if match and labels["code"].startswith("2"):
            resource = "/".join(part for part in (labels["resource"], labels["subresource"]) if part)
            found[resource, labels["verb"]] += int(float(match["value"]))
    return found


def writes(installation: Installation) -> Counter[tuple[str, str]]:
    """Return those of them that write."""
    return Counter({key: count for key, count in requests(installation).items() if key[1] in WRITES})


def live(installation: Installation, sessions: int) -> None:
    """Let sessions live one after the other, until their pods are gone."""
    for _ in range(sessions):
        session = installation.call("POST", "/v1/sessions", {}, Prefer="wait=30")["id"]
        installation.call("DELETE", f"/v1/sessions/{session}")
    installation.wait_for_no_pods()


def measure(run: Run) -> Sequence[Series]:
    """Return the writes per session, in all and by resource; an idle cluster's own are taken off."""
    installation = run.installation
    installation.wait_for_no_pods()
    before, started = requests(installation), time.monotonic()
    live(installation, run.size)
    after, busy_seconds = requests(installation), time.monotonic() - started
    time.sleep(busy_seconds)
    return per_session((after - before) - (requests(installation) - after), run.size)


def per_session(counted: Counter[tuple[str, str]], sessions: int) -> list[Series]:
    """Return our own writes and all (Events and leases apart), each kind of write, and all requests by verb."""
    each = {key: count / sessions for key, count in sorted(counted.items())}
    written = {key: count for key, count in each.items() if key[1] in WRITES}
    ours = sum(count - BY_KUBELET.get(key, 0) for key, count in written.items() if key[0] in OURS)
    everything = sum(count for (resource, _), count in written.items() if resource not in APART)
    verbs: dict[str, float] = defaultdict(float)
    for (_, verb), count in each.items():
        verbs[verb] += count
    return [
        Series("writes.ours", "API-server writes, operator and facade", UNIT, [ours]),
        Series("writes.all", "API-server writes, all", UNIT, [everything]),
        *(
            Series(f"writes.{verb}.{resource}", f"  {verb} {resource}", UNIT, [count])
            for (resource, verb), count in written.items()
        ),
        *(Series(f"requests.{verb}", f"requests, {verb}", UNIT, [count]) for verb, count in verbs.items()),
    ]


ROW = Row(
    "writes",
    "API-server requests of one session, create to gone",
    measure,
    bounds=(Bound("writes.ours", 8), Bound("writes.all", 25)),
    rounds=10,
)

if __name__ == "__main__":
    alone(ROW)
