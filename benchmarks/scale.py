"""Operator and facade with many live sessions; pods, their nodes and agents are faked, all else is real.

SESSIONS live ones (default 2000) over ACCOUNTS (default 70) are reached in levels. On each: a quiet time, then
sessions that come and go, 2 a second. At the last level the two are started anew, and the highest rate is found at
which sessions can come and go with a p99 of less than 500 ms from create to ready. Prints tables and writes them as
scale.md and scale.json into `.driftstack/`. All that was made is removed at the end, or by the next run.

POOL keeps so many warm pods (default 0: all starts are cold). STEADY, PROBES and STEP set how long a quiet time is
(60 s), how many sessions come and go at each level (100), and how long each rate is tried (20 s). Needs root and
`make demo`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Final

import uvloop
from installation import Installation, open_installation
from scale_fakes import Fakes, Site
from scale_load import PREFIX, SPARE, Accounts, Load
from scale_report import OURS, Level, Report, Step, milliseconds, percentiles, session_cost
from scale_starts import starts
from scale_usage import API_SERVER, ETCD, Meter, Usage, between
from writes import APART, writes

from driftstack_cluster.errors import ClusterError
from driftstack_cluster.progress import Progress
from driftstack_common.kube.client import KubeClient

LEVELS: Final = (100, 250, 500, 1000)
"""Live sessions to stop at on the way to SESSIONS."""
PROBE_RATE: Final = 2
FIRST_RATE: Final = 4
HIGHEST_RATE: Final = 64
SETTLE: Final = 10.0
REMOVAL: Final = 900.0


@dataclass(frozen=True)
class Options:
    """What can be set."""

    sessions: int = 2000
    accounts: int = 70
    pool: int = 0
    steady: int = 60
    probes: int = 100
    step: int = 20

    @classmethod
    def read(cls) -> Options:
        """Read the environment."""
        return cls(**{name: int(os.environ.get(name.upper(), value)) for name, value in asdict(cls()).items()})

    @property
    def levels(self) -> list[int]:
        """Numbers of live sessions to measure with."""
        return [level for level in LEVELS if level < self.sessions] + [self.sessions]


class Run:
    """One run: what it uses, and what it found.

    Args:
        installation: with its metrics.
    """

    def __init__(self, options: Options, installation: Installation, kube: KubeClient, site: Site) -> None:
        self._options = options
        self._installation = installation
        self._kube = kube
        self._site = site
        self._progress = Progress()
        self._fakes = Fakes(site, kube)
        self._accounts = Accounts(kube)
        self.report = Report({**asdict(options), "cores": os.cpu_count(), "load average at the begin": _load()})

    async def run(self) -> None:
        """Measure everything, and leave nothing."""
        async with self._fakes.running(self._progress):
            try:
                await self._fakes.add_nodes(1)
                await self._remove("Remove what an earlier run left")
                with self._progress.step("Nodes and accounts"):
                    keys = await self._set_up()
                async with Load.opened(self._site, self._kube, keys) as load:
                    await load.accepted()
                    await self._measure(load)
            finally:
                await self._remove("Remove all of it")

    async def _set_up(self) -> list[str]:
        options = self._options
        await self._fakes.add_nodes(options.sessions + options.pool + SPARE)
        await self._fakes.take_pool(options.pool)
        return await self._accounts.make(options.accounts, options.sessions // options.accounts + SPARE)

    async def _remove(self, title: str) -> None:
        """Remove accounts with all that they have, then the nodes."""
        if await self._accounts.present():
            with self._progress.step(title) as step:
                await self._accounts.remove()
                async with asyncio.timeout(REMOVAL):
                    while left := len(await self._accounts.present()):
                        step.note(f"{left} accounts and {await self._accounts.live()} sessions are left")
                        await asyncio.sleep(1)
                step.note("")
        await self._fakes.give_pool_back()
        await self._fakes.remove_nodes()

    async def _measure(self, load: Load) -> None:
        meter = Meter(self._site, self._fakes, self._kube)
        for level in self._options.levels:
            with self._progress.step(f"{level} live sessions") as step:
                self.report.levels.append(await self._level(load, meter, level, step.note))
        with self._progress.step("Start operator and facade anew") as step:
            operator, facade = await asyncio.to_thread(starts, self._installation)
            self.report.starts = {"operator": operator, "facade": facade}
            step.note(f"in charge after {operator:.1f} s, ready after {facade:.1f} s")
        with self._progress.step("Highest rate") as step:
            await asyncio.sleep(SETTLE)
            await highest(lambda rate: self._rate(load, meter, rate, step.note))
            step.note(f"{self.report.sustained} creates and as many ends a second")

    async def _level(self, load: Load, meter: Meter, level: int, note: Callable[[str], None]) -> Level:
        options = self._options
        note("creating")
        await load.fill(level)
        note(f"quiet for {options.steady:.0f} s")
        await asyncio.sleep(SETTLE)
        await meter.find()
        idle, steady = await self._window(meter, asyncio.sleep(options.steady))
        memory = {part: meter.memory(part) for part in (*OURS, API_SERVER, ETCD)}
        note(f"{options.probes} sessions come and go")
        count, seconds = options.probes, options.probes / PROBE_RATE
        outcome = None

        async def probe() -> None:
            nonlocal outcome
            outcome = await load.run(PROBE_RATE, seconds)

        written, probing = await self._window(meter, probe())
        assert outcome is not None
        p50, p99 = percentiles(outcome)
        note(f"p50 {milliseconds(p50)} ms, p99 {milliseconds(p99)} ms, load average {_load()}")
        each = (written - idle * probing.seconds / steady.seconds) / count
        cost = session_cost(steady, probing, count)
        return Level(level, count, p50, p99, steady.cores, cost, each, memory, outcome.errors)

    async def _rate(self, load: Load, meter: Meter, rate: int, note: Callable[[str], None]) -> bool:
        await meter.find()
        before = meter.read()
        outcome = await load.run(rate, self._options.step)
        used = between(before, meter.read())
        p50, p99 = percentiles(outcome)
        step = Step(rate, len(outcome.seconds), p50, p99, used.cores, outcome.errors)
        self.report.steps.append(step)
        note(
            f"{rate}/s: p50 {milliseconds(p50)} ms, p99 {milliseconds(p99)} ms{'' if step.holds else ' (too much)'}"
        )
        await asyncio.sleep(SETTLE)
        return step.holds

    async def _window(self, meter: Meter, work: Awaitable[None]) -> tuple[float, Usage]:
        """Return how many writes the API server took meanwhile, Events and leases apart, and what was used."""
        before = await self._writes()
        first = meter.read()
        await work
        last = meter.read()
        return await self._writes() - before, between(first, last)

    async def _writes(self) -> int:
        found = await asyncio.to_thread(writes, self._installation)
        return sum(count for (resource, _), count in found.items() if resource not in APART)


async def highest(holds: Callable[[int], Awaitable[bool]]) -> None:
    """Try rates until the highest that holds is known to 1 a second."""
    good, bad, rate = 0, HIGHEST_RATE + 1, FIRST_RATE
    while bad - good > 1:
        if await holds(rate):
            good = rate
        else:
            bad = rate
        rate = min(good * 2, (good + bad) // 2) if good else bad // 2


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


async def measure(installation: Installation, site: Site) -> Report:
    """Run it; what was found until an interruption is in the report."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    kube = await KubeClient.connect(site.kubeconfig, timeout=60)
    run = Run(Options.read(), installation, kube, site)
    try:
        await run.run()
    finally:
        await kube.close()
        text = run.report.as_markdown()
        print(text)
        for name, content in (("scale.md", text), ("scale.json", run.report.as_json())):
            (site.output / name).write_text(content)
        print(f"written: {site.output}/scale.md and scale.json")
    return run.report


def main() -> None:
    """Measure; an interruption still cleans up."""
    if os.geteuid() != 0:
        sys.exit(f"{PREFIX}benchmarks read other users' processes and fake nodes: run this as root on the node")
    try:
        with open_installation() as installation:
            uvloop.run(measure(installation, Site.find()))
    except ClusterError as error:
        sys.exit(f"{error}\n{error.hint}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted")


if __name__ == "__main__":
    main()
