"""A client of REST that also watches, as a person's program might: sessions from POST until gone, with times."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from installation import BROWSERS, Installation

from driftstack_cluster.demo import ACCOUNT, NAMESPACE
from driftstack_common.kinds import Account, Pool, Session
from driftstack_common.kube.client import POD, Body, KubeClient
from driftstack_common.kube.errors import KubeError
from driftstack_common.names import DEFAULT_POOL

CAP: Final = 30
"""Sessions that the account may have at once while it is measured."""
PATIENCE: Final = 180.0
START_PATIENCE: Final = 75.0
"""Seconds that a session may take to start; the operator gives up after 60."""
STANDSTILL: Final = 45.0
"""Seconds without a change after which a pool is not waited for any more; its status may be 15 s old."""


@dataclass(frozen=True)
class Life:
    """A session that is ready.

    Attributes:
        id: public, `ses_…`.
        posted, ready: seconds from sending POST to its answer, and to the watch event that says ready.
        status: of that event.
    """

    id: str
    posted: float
    ready: float
    status: Body


class Client:
    """Creates and deletes sessions of the demo account; made by `open_client`."""

    def __init__(self, http: aiohttp.ClientSession, kube: KubeClient) -> None:
        self.kube = kube
        self._http = http
        self._living: set[str] = set()
        self._ready: dict[str, asyncio.Future[tuple[float, Body]]] = defaultdict(
            lambda: asyncio.get_running_loop().create_future()
        )

    async def create(self) -> Life:
        """Create a session and wait until the watch says that it is ready."""
        sent = time.perf_counter()
        session = await self.post()
        answered = time.perf_counter()
        uid = session["id"].removeprefix("ses_")
        try:
            async with asyncio.timeout(START_PATIENCE):
                at, status = await self._ready[uid]
        except TimeoutError:
            raise RuntimeError(f"session {session['id']} is not ready after {START_PATIENCE:.0f} s") from None
        finally:
            del self._ready[uid]
        return Life(session["id"], answered - sent, at - sent, status)

    async def create_many(self, count: int) -> list[Life]:
        """Create sessions at once; where one fails, that is raised when all have come to an end or are ready."""
        lives = await asyncio.gather(*(self.create() for _ in range(count)), return_exceptions=True)
        for life in lives:
            if isinstance(life, BaseException):
                raise life
        return [life for life in lives if isinstance(life, Life)]

    async def post(self) -> Any:
        """Create a session; return it as the answer shows it."""
        session = await self.call("POST", "/v1/sessions", {})
        self._living.add(session["id"])
        return session

    async def delete(self, session: str) -> float:
        """Delete a session; return the seconds until it is gone."""
        sent = time.perf_counter()
        while await self._send("DELETE", f"/v1/sessions/{session}") == 503:  # it takes long; safe to repeat
            pass
        self._living.discard(session)
        return time.perf_counter() - sent

    async def end_all(self) -> None:
        """Delete what a measurement that failed has left."""
        await asyncio.gather(*(self.delete(session) for session in [*self._living]))

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the REST API; return the JSON answer or end the benchmark with the problem."""
        async with self._http.request(method, path, json=body) as answer:
            if answer.status >= 400:
                sys.exit(f"{method} {path}: {answer.status} {await answer.text()}")
            return await answer.json() if answer.status != 204 else None

    async def _send(self, method: str, path: str) -> int:
        async with self._http.request(method, path) as answer:
            if answer.status >= 400 and answer.status not in (404, 503):  # not there: it has ended by itself
                sys.exit(f"{method} {path}: {answer.status} {await answer.text()}")
            return answer.status

    async def follow(self) -> None:
        """Watch the account's sessions, for ever; a watch ends now and then, and what it missed is listed."""
        while True:
            try:
                listed = await self.kube.list_objects(Session.KIND, NAMESPACE)
                for session in listed["items"]:
                    self._take(session)
                version = listed["metadata"]["resourceVersion"]
                async for event in self.kube.watch(Session.KIND, NAMESPACE, version):
                    self._take(event["object"], gone=event["type"] == "DELETED")
            except KubeError:
                await asyncio.sleep(0.1)

    def _take(self, session: Body, *, gone: bool = False) -> None:
        status = session.get("status") or {}
        uid, phase = session["metadata"].get("uid", ""), status.get("phase")
        waiting = self._ready.get(uid)
        if phase == "ready" and (waiting is None or not waiting.done()):
            self._ready[uid].set_result((time.perf_counter(), status))
        elif gone and waiting is not None and not waiting.done():
            hint = f"`kubectl describe bsr {uid} -n {NAMESPACE}` says why"
            waiting.set_exception(RuntimeError(f"session {session['metadata']['name']} ended unstarted: {hint}"))


@asynccontextmanager
async def open_client(installation: Installation) -> AsyncIterator[Client]:
    """Open connections to REST and API server, watch, and raise the account's cap until the block ends."""
    kube = await KubeClient.connect(Path(installation.kubeconfig), timeout=60)
    http = aiohttp.ClientSession(
        str(installation.api.base_url), headers=dict(installation.api.headers), trust_env=False
    )
    client = Client(http, kube)
    following = asyncio.create_task(client.follow())
    try:
        async with _cap(kube, CAP):
            try:
                yield client
            finally:
                await client.end_all()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await http.close()
        await kube.close()


@asynccontextmanager
async def _cap(kube: KubeClient, cap: int) -> AsyncIterator[None]:
    account = await kube.get(Account.KIND, None, ACCOUNT)
    before = account["spec"].get("overrides", {}).get("concurrentSessions")

    async def override(value: int | None) -> None:
        await kube.merge_patch(Account.KIND, None, ACCOUNT, {"spec": {"overrides": {"concurrentSessions": value}}})

    await override(cap)
    try:
        await until(lambda: _in_force(kube, cap), "the account's cap does not come into force")
        yield
    finally:
        await override(before)


async def _in_force(kube: KubeClient, cap: int) -> bool:
    account = await kube.get(Account.KIND, None, ACCOUNT)
    return bool(account.get("status", {}).get("limit") == cap)


@asynccontextmanager
async def warm_pods(kube: KubeClient, count: int) -> AsyncIterator[None]:
    """Keep so many warm pods in the default pool until the block ends, all of them ready when it begins."""
    pool = await kube.get(Pool.KIND, BROWSERS, DEFAULT_POOL)
    before = pool["spec"].get("replicas", 0)
    await _scale(kube, count)
    try:
        await wait_until_warm(kube, count)
        yield
    finally:
        await _scale(kube, before)


async def served(kube: KubeClient) -> int:
    """Return how many sessions the pool says it has had."""
    status = (await kube.get(Pool.KIND, BROWSERS, DEFAULT_POOL)).get("status", {})
    return int(status.get("hits", 0) + status.get("misses", 0))


async def wait_until_warm(kube: KubeClient, count: int, after: int = 0) -> int:
    """Wait until the pool has just so many warm pods, and no pod is starting or ending beside them.

    Ends the benchmark when nothing changes any more and it is not so, with what the pool says.

    Args:
        after: sessions that the pool must have counted by then: what it said before those came is no answer.

    Returns how often that was asked: one GET of the pool and one LIST of pods each.
    """
    asked, before, deadline = 0, None, 0.0
    while True:
        status = (await kube.get(Pool.KIND, BROWSERS, DEFAULT_POOL)).get("status", {})
        pods = len((await kube.list_metadata(POD, BROWSERS))["items"] or [])
        asked += 1
        counted = status.get("hits", 0) + status.get("misses", 0)
        seen = (status.get("readyReplicas", 0), pods, counted)
        if seen[:2] == (count, count) and counted >= after:
            return asked
        if seen != before:
            before, deadline = seen, time.monotonic() + STANDSTILL
        elif time.monotonic() > deadline:
            sys.exit(_unsettled(count, pods, status))
        await asyncio.sleep(0.1)


def _unsettled(count: int, pods: int, status: Body) -> str:
    said = next((c.get("message", "") for c in status.get("conditions", []) if c["type"] == "Ready"), "")
    return (
        f"pool {DEFAULT_POOL} does not come to {count} warm pods and no others: it has "
        f"{status.get('readyReplicas', 0)}, and there are {pods} browser pods; sessions of others must have ended, "
        f"and all must have room" + (f" ({said})" if said else "")
    )


async def _scale(kube: KubeClient, count: int) -> None:
    await kube.merge_patch(Pool.KIND, BROWSERS, DEFAULT_POOL, {"spec": {"replicas": count}}, "scale")


async def until(done: Callable[[], Awaitable[bool]], problem: str) -> int:
    """Ask until it is so, and return how often; ends the benchmark with the problem when it takes too long."""
    deadline, asked = time.monotonic() + PATIENCE, 1
    while not await done():
        if time.monotonic() > deadline:
            sys.exit(problem)
        await asyncio.sleep(0.1)
        asked += 1
    return asked
