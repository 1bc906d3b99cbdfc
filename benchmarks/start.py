"""Cold start (POST until ready) beside a pod that sleeps (create until Running), and where its time goes.

The second sleeping pod mounts a volume, as a browser pod must: the kubelet looks for mounted volumes every 300 ms.
The stages are those of the sessions' status, each from the session's creation; docs/operations/performance.md says
what each is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

import uvloop
from figures import Bound, Series, milliseconds
from floors import browser_image, sleeping_pod
from harness import Row, Run, alone
from sessions import open_client, wait_until_warm, warm_pods

from driftstack_common.times import parse_time

STAGES = {
    "accepted": "operator sees the session",
    "podCreated": "pod created",
    "podScheduled": "operator sees the pod's node",
    "sandbox": "sandbox up: network, volumes",
    "container": "agent's process begins",
    "agent": "agent's code loaded",
    "chromium": "Chromium answers",
    "page": "page open, sandbox proven",
    "podRunning": "operator sees the pod Running",
    "claimed": "agent takes the session",
    "ready": "status sent",
}


async def measure_async(run: Run) -> dict[str, list[float]]:
    """Alternate between the three, so that noise meets all."""
    times: dict[str, list[float]] = defaultdict(list)
    async with open_client(run.installation) as client, warm_pods(client.kube, 0):
        image = await browser_image(client.kube)
        for _ in run.rounds():
            times["cold.floor"].append(await sleeping_pod(client.kube, image, volume=False))
            times["cold.volume"].append(await sleeping_pod(client.kube, image, volume=True))
            life = await client.create()
            times["cold.posted"].append(life.posted)
            times["cold.ready"].append(life.ready)
            shown = await client.call("GET", f"/v1/sessions/{life.id}")
            created = parse_time(shown["created_at"])
            for stage in STAGES:
                moment = life.status["stages"].get(stage)
                if moment is not None:
                    times[stage].append(_seconds(created, moment))
            await client.delete(life.id)
            await wait_until_warm(client.kube, 0)
    return times


def _seconds(created: datetime, moment: str) -> float:
    return (parse_time(moment) - created).total_seconds()


def measure(run: Run) -> Sequence[Series]:
    """Return floors, session and stages."""
    times = uvloop.run(measure_async(run))
    titles = {
        "cold.floor": "sleeping pod, create to Running",
        "cold.volume": "sleeping pod with a volume",
        "cold.posted": "cold session, POST to 201",
        "cold.ready": "cold session, POST to ready",
        **{stage: f"  {title}" for stage, title in STAGES.items()},
    }
    return [milliseconds(key, title, times[key]) for key, title in titles.items() if times[key]]


ROW = Row(
    "cold",
    "Cold start, beside a pod that sleeps",
    measure,
    bounds=(Bound("cold.ready", 3, against="cold.floor"),),
)

if __name__ == "__main__":
    alone(ROW)
