"""API-server writes and requests of a session's life (create, ready, delete, gone), from the server's own metrics.

By resource and verb. The sessions come from a warm pool, so that the pods' replacement is part of it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, defaultdict
from collections.abc import Sequence

import uvloop
from figures import Bound, Series
from harness import Row, Run, alone
from installation import Installation
from sessions import open_client, wait_until_warm, warm_pods

LINE = re.compile(r"^apiserver_request_total\{(?P<labels>.*)\} (?P<value>\S+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')
WRITES = {"POST", "PUT", "PATCH", "DELETE", "APPLY"}
# Written by our operator and facade. A pod is deleted twice: by the operator, and by the kubelet in the end.
OURS = {
    "accounts/status",
    "apikeys/status",
    "browserpools/status",
    "browsersessions",
    "browsersessions/status",
    "pods",
    "resourcequotas",  # a count that is wrong for long is put right; on a busy machine it often is
    "sessionrecords",
}
BY_KUBELET = {("pods", "DELETE"): 1.0}
APART = {"events", "leases"}
UNIT = "per session"
POOL = 3


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


async def measure_async(run: Run) -> Counter[tuple[str, str]]:
    """Return the requests of so many sessions and their pods' replacement, less those of an idle cluster."""
    installation = run.installation
    async with open_client(installation) as client, warm_pods(client.kube, POOL):
        before, started = requests(installation), time.monotonic()
        for _ in run.rounds():
            await client.delete((await client.create()).id)
        asked = await wait_until_warm(client.kube, POOL)
        after, busy_seconds = requests(installation), time.monotonic() - started
        await asyncio.sleep(busy_seconds)
        own = Counter({("browserpools", "GET"): asked, ("pods", "LIST"): asked})
        return (after - before) - (requests(installation) - after) - own


def measure(run: Run) -> Sequence[Series]:
    """Return the requests per session, in all and by resource."""
    return per_session(uvloop.run(measure_async(run)), run.size)


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
