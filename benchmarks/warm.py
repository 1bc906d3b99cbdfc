"""Sessions from a warm pool at one and two creates a second, beside bare custom resources of the same client.

From sending POST to its answer (201), to `ready` seen by a watching client, and DELETE to its answer. Creates come
at their time whether or not the one before is done, so a slow one isn't hidden. Two a second, each with its
replacement in the pool, are about all that two cores can do; one a second shows what a create itself takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import uvloop
from figures import Bound, Series, milliseconds
from floors import bare_resources
from harness import Row, Run, alone
from sessions import Client, open_client, warm_pods

EVERY = 0.5
EVERY_CALM = 1.0
CALM_SHARE = 5
"""One of so many rounds is taken at the lower rate, before the others."""
POOL = 8

CreateBare = Callable[[], Awaitable[float]]
"""Creates a bare custom resource; returns the seconds that took."""


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


async def create_at(every: float, size: int, run: Run, client: Client, create_bare: CreateBare) -> Times:
    """Create a session in so many seconds, on a full pool, until there are enough."""
    times = Times()
    async with warm_pods(client.kube, POOL), asyncio.TaskGroup() as lives:
        loop = asyncio.get_running_loop()
        await live(client, Times())  # connections are there before anything counts
        begun = loop.time()
        for number in run.rounds(size):
            lives.create_task(live(client, times))
            await asyncio.sleep(begun + (number + 0.5) * every - loop.time())
            times.bare.append(await create_bare())
            await asyncio.sleep(begun + (number + 1) * every - loop.time())
    return times


async def measure_async(run: Run) -> tuple[Times, Times]:
    """Return what came of both rates."""
    async with open_client(run.installation) as client, bare_resources(client.kube) as create_bare:
        calm = await create_at(EVERY_CALM, max(2, run.size // CALM_SHARE), run, client, create_bare)
        return calm, await create_at(EVERY, run.size, run, client, create_bare)


def measure(run: Run) -> Sequence[Series]:
    """Return the times at both rates, and how many creates met no warm pod."""
    calm, times = uvloop.run(measure_async(run))
    return [*_series(calm, "calm", "1/s: "), *_series(times, "warm", "2/s: ")]


def _series(times: Times, key: str, at: str) -> list[Series]:
    return [
        milliseconds(f"{key}.bare", f"{at}bare custom resource, create", times.bare),
        milliseconds(f"{key}.posted", f"{at}warm session, POST to 201", times.posted),
        milliseconds(f"{key}.ready", f"{at}warm session, POST to ready", times.ready),
        milliseconds(f"{key}.deleted", f"{at}warm session, DELETE to 204", times.deleted),
        Series(f"{key}.missed", f"{at}creates that met no warm pod", "of all", [times.missed]),
    ]


ROW = Row(
    "warm",
    "Create to ready from a warm pool, 1 and 2 a second",
    measure,
    bounds=(
        Bound("warm.posted", 2.5, against="warm.bare"),
        Bound("warm.ready", 4, against="warm.bare"),
        Bound("warm.ready", 12, "p99", against="warm.bare"),
        Bound("warm.deleted", 30),
    ),
    rounds=300,
    quick=20,
)

if __name__ == "__main__":
    alone(ROW)
