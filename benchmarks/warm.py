"""Sessions from a warm pool at two creates a second, beside bare custom resources of the same client between them.

From sending POST to its answer (201), to `ready` seen by a watching client, and DELETE to its answer. Creates come
at their time whether or not the one before is done, so a slow one isn't hidden.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import uvloop
from figures import Bound, Series, milliseconds
from floors import bare_resources
from harness import Row, Run, alone
from sessions import Client, open_client, warm_pods

EVERY = 0.5
POOL = 8


@dataclass
class Times:
    """What came of the sessions so far, seconds."""

    posted: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    deleted: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    missed: int = 0


async def live(client: Client, times: Times) -> None:
    """Let one session live until it is ready."""
    life = await client.create()
    times.posted.append(life.posted)
    times.ready.append(life.ready)
    times.missed += life.status.get("pool") != "hit"
    times.deleted.append(await client.delete(life.id))


async def measure_async(run: Run) -> Times:
    """Create at the fixed rate until there are enough."""
    times = Times()
    async with (
        open_client(run.installation) as client,
        bare_resources(client.kube) as create_bare,
        warm_pods(client.kube, POOL),
        asyncio.TaskGroup() as lives,
    ):
        loop = asyncio.get_running_loop()
        await live(client, Times())  # connections are there before anything counts
        begun = loop.time()
        for number in run.rounds():
            lives.create_task(live(client, times))
            await asyncio.sleep(begun + (number + 0.5) * EVERY - loop.time())
            times.bare.append(await create_bare())
            await asyncio.sleep(begun + (number + 1) * EVERY - loop.time())
    return times


def measure(run: Run) -> Sequence[Series]:
    """Return the times, and how many creates met no warm pod."""
    times = uvloop.run(measure_async(run))
    return [
        milliseconds("bare", "bare custom resource, create", times.bare),
        milliseconds("warm.posted", "warm session, POST to 201", times.posted),
        milliseconds("warm.ready", "warm session, POST to ready", times.ready),
        milliseconds("warm.deleted", "warm session, DELETE to 204", times.deleted),
        Series("warm.missed", "creates that met no warm pod", "of all", [times.missed]),
    ]


ROW = Row(
    "warm",
    "Create to ready from a warm pool, 2 a second",
    measure,
    bounds=(
        Bound("warm.posted", 2.5, against="bare"),
        Bound("warm.ready", 4, against="bare"),
        Bound("warm.ready", 12, "p99", against="bare"),
        Bound("warm.deleted", 30),
    ),
    rounds=300,
    quick=20,
)

if __name__ == "__main__":
    alone(ROW)
