"""Ten sessions at once on a pool of ten: from the first POST until the last is ready.

Each burst finds a full pool and nothing else: on a small node, pods that live and their replacements would not fit
together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import uvloop
from figures import Bound, Series, milliseconds
from harness import Row, Run, alone
from sessions import open_client, served, wait_until_warm, warm_pods

SESSIONS = 10


async def measure_async(run: Run) -> list[float]:
    """Return the seconds of each burst; the pool is full again before the next."""
    bursts = []
    async with open_client(run.installation) as client, warm_pods(client.kube, SESSIONS):
        before = await served(client.kube)
        for number in run.rounds():
            lives = await client.create_many(SESSIONS)
            bursts.append(max(life.ready for life in lives))
            await asyncio.gather(*(client.delete(life.id) for life in lives))
            await wait_until_warm(client.kube, SESSIONS, before + SESSIONS * (number + 1))
    return bursts


def measure(run: Run) -> Sequence[Series]:
    """Return the time of the last of each burst."""
    return [milliseconds("burst", "10 sessions at once, last ready", uvloop.run(measure_async(run)))]


ROW = Row("burst", "A burst of 10 on a pool of 10", measure, bounds=(Bound("burst", 200),), rounds=10, quick=2)

if __name__ == "__main__":
    alone(ROW)
