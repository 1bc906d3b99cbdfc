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
        async with asyncio.timeout(PATIENCE):
            at, status = await self._ready[uid]
        del self._ready[uid]
        return Life(session["id"], answered - sent, at - sent, status)

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
            if answer.status >= 400 and answer.status != 503:
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
                    self._take(event["object"])
            except KubeError:
                await asyncio.sleep(0.1)

    def _take(self, session: Body) -> None:
        status = session.get("status") or {}
        uid, phase = session["metadata"].get("uid", ""), status.get("phase")
        waiting = self._ready.get(uid)
        if phase == "ready" and (waiting is None or not waiting.done()):
            self._ready[uid].set_result((time.perf_counter(), status))
        elif phase == "errored" and waiting is not None and not waiting.done():
            problem = f"{status.get('reason')}: {status.get('message')}"
            waiting.set_exception(RuntimeError(f"session {session['metadata']['name']} ended, {problem}"))


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


async def wait_until_warm(kube: KubeClient, count: int) -> int:
    """Wait until the pool has just so many warm pods, and no pod is starting or ending beside them.

    Returns how often that was asked: one GET of the pool and one LIST of pods each.
    """

    async def settled() -> bool:
        pool = await kube.get(Pool.KIND, BROWSERS, DEFAULT_POOL)
        pods = await kube.list_metadata(POD, BROWSERS)
        return bool(pool.get("status", {}).get("readyReplicas", 0) == count == len(pods["items"] or []))

    hint = f"`kubectl describe bpool {DEFAULT_POOL} -n {BROWSERS}` says why; sessions of others must have ended"
    return await until(settled, f"pool {DEFAULT_POOL} does not come to {count} warm pods: {hint}")


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
