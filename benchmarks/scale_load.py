"""Accounts, and sessions created and ended through the facade at a rate; a watch of our own tells what is ready."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final

import aiohttp
from scale_fakes import Site

from driftstack_common import api_keys
from driftstack_common.kinds import Account, ApiKey, Phase, Session, from_body
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import NotFound
from driftstack_common.kube.reflector import Reflector, Timing
from driftstack_common.names import API_VERSION, session_uid

PREFIX: Final = "scale-"
AT_ONCE: Final = 8
SPARE: Final = 64
"""Slots of each account beyond its share: no create of these figures is to wait for a quota."""
PATIENCE: Final = 15.0
"""Seconds after which a session that is not ready never will be."""
TIMING: Final = Timing(watch_seconds=60, silence_seconds=90)
_NO_LIMIT: Final = {"capacity": 1_000_000, "refillPerMinute": 60_000_000}


@dataclass
class Made:
    """A session: who has it, and its id; sent is when its create was (monotonic)."""

    key: str
    id: str
    sent: float


@dataclass
class Outcome:
    """What became of the creates of one window.

    Attributes:
        seconds: POST sent to ready, of each; infinite for one that never was.
        errors: how many calls failed, by what was said.
    """

    seconds: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)

    def failed(self, why: str) -> None:
        """Count a failure."""
        self.errors[why] = self.errors.get(why, 0) + 1


class Accounts:
    """The accounts of this benchmark."""

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube

    async def make(self, count: int, slots: int) -> list[str]:
        """Make so many, with room for so many sessions each; return a key of each."""
        names = [f"{PREFIX}{number}" for number in range(count)]
        await _side_by_side([self._create(name, slots) for name in names])
        while not all(account.ready for account in await self.present()):  # noqa: ASYNC110 - the API server is asked
            await asyncio.sleep(0.5)
        keys = [api_keys.mint() for _ in names]
        await _side_by_side([self._key(name, key) for name, key in zip(names, keys, strict=True)])
        return [key.plaintext for key in keys]

    async def present(self) -> list[Account]:
        """Return those that are there."""
        listing = await self._kube.list_objects(Account.KIND)
        accounts = [from_body(Account, body) for body in listing["items"]]
        return [account for account in accounts if account.metadata.name.startswith(PREFIX)]

    async def remove(self) -> None:
        """Have all deleted, with all that they have; `present` tells when they are gone."""
        for account in await self.present():
            with suppress(NotFound):
                await self._kube.delete(Account.KIND, None, account.metadata.name)

    async def live(self) -> int:
        """Return how many sessions they have."""
        return sum([account.status.live or 0 for account in await self.present()])

    async def _create(self, name: str, slots: int) -> None:
        overrides = {
            "concurrentSessions": slots,
            "rateLimits": {"global": _NO_LIMIT, "sessionsCreate": _NO_LIMIT},
        }
        spec = {"tier": "enterprise", "overrides": overrides}
        body = {"apiVersion": API_VERSION, "kind": "Account", "metadata": {"name": name}, "spec": spec}
        await self._kube.create(Account.KIND, None, body)

    async def _key(self, account: str, key: api_keys.MintedKey) -> None:
        spec = {"name": "scale", "scopes": ["account_owner"], "sha256": key.sha256, "keyPrefix": key.prefix}
        body = {"apiVersion": API_VERSION, "kind": "ApiKey", "metadata": {"name": "scale"}, "spec": spec}
        await self._kube.create(ApiKey.KIND, f"acct-{account}", body)


async def _side_by_side(calls: list[Awaitable[None]]) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def call(one: Awaitable[None]) -> None:
        async with slots:
            await one

    await asyncio.gather(*map(call, calls))


class Load:
    """Callers of all accounts in turn; the oldest session is the next to end.

    Args:
        keys: one of each account.
    """

    def __init__(self, api: aiohttp.ClientSession, kube: KubeClient, keys: list[str]) -> None:
        self._api = api
        self._keys = cycle(keys)
        self._live: deque[Made] = deque()
        self._ready: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Event] = {}
        self._watch = Reflector(kube, Session, stored=self._stored, removed=self._removed, timing=TIMING)

    @classmethod
    @asynccontextmanager
    async def opened(cls, site: Site, kube: KubeClient, keys: list[str]) -> AsyncIterator[Load]:
        """Yield one that watches."""
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(site.layout.facade_url, connector=connector, timeout=timeout) as api:
            load = cls(api, kube, keys)
            watching = asyncio.create_task(load._watch.run())
            try:
                yield load
            finally:
                watching.cancel()

    def __len__(self) -> int:
        return len(self._live)

    async def accepted(self) -> None:
        """Wait until the facade knows every key."""
        keys = {next(self._keys) for _ in range(1024)}
        for key in keys:
            while not await self._call("GET", "/v1/whoami", key):  # noqa: ASYNC110 - the facade is asked
                await asyncio.sleep(0.2)

    async def fill(self, sessions: int) -> None:
        """Have so many live sessions, made as fast as a few callers can."""
        slots = asyncio.Semaphore(AT_ONCE)
        outcome = Outcome()

        async def one() -> None:
            async with slots:
                await self._create(outcome)

        async with asyncio.TaskGroup() as group:
            for _ in range(sessions - len(self)):
                group.create_task(one())
        if outcome.errors:
            raise RuntimeError(f"not all sessions could be made: {outcome.errors}")

    async def run(self, rate: float, seconds: float) -> Outcome:
        """Create so many per second, evenly, and end as many; return when all of them are done."""
        outcome = Outcome()
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(round(rate * seconds)):
                await _until(begun + number / rate)
                group.create_task(self._create(outcome))
                await _until(begun + (number + 0.5) / rate)
                group.create_task(self._end(outcome))
        return outcome

    async def _create(self, outcome: Outcome) -> None:
        key, sent = next(self._keys), time.monotonic()
        answer = await self._call("POST", "/v1/sessions", key, outcome)
        if answer is None:
            outcome.seconds.append(math.inf)
            return
        uid = session_uid(answer["id"]) or ""
        self._live.append(Made(key, answer["id"], sent))
        outcome.seconds.append(await self._ready_at(uid, sent + PATIENCE) - sent)

    async def _ready_at(self, uid: str, deadline: float) -> float:
        if uid not in self._ready:
            event = self._waiting[uid] = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(deadline - time.monotonic()):
                    await event.wait()
            del self._waiting[uid]
        return self._ready.get(uid, math.inf)

    async def _end(self, outcome: Outcome) -> None:
        if self._live:
            oldest = self._live.popleft()
            await self._call("DELETE", f"/v1/sessions/{oldest.id}", oldest.key, outcome)

    async def _call(
        self, method: str, path: str, key: str, outcome: Outcome | None = None
    ) -> dict[str, str] | None:
        """Return the JSON answer, empty when there is no body; None for a failure, which is counted."""
        headers = {"Authorization": f"Bearer {key}"}
        body = {} if method == "POST" else None
        try:
            async with self._api.request(method, path, json=body, headers=headers) as answer:
                if answer.status < 300:
                    return await answer.json() if answer.status != 204 else {}
                why = f"{method} {answer.status} {(await answer.text())[:200]}"
        except (aiohttp.ClientError, TimeoutError) as error:
            why = f"{method} {error!r}"
        if outcome is not None:
            outcome.failed(why)
        return None

    def _stored(self, _: Session | None, session: Session) -> None:
        if session.status.phase is Phase.READY and session.uid not in self._ready:
            self._ready[session.uid] = time.monotonic()
            waiting = self._waiting.get(session.uid)
            if waiting is not None:
                waiting.set()

    def _removed(self, session: Session) -> None:
        self._ready.pop(session.uid, None)


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
