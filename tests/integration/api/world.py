"""The facade with everything around it in memory: API server, operator and agent, each as small as it can be."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address
from typing import Any

import httpx2
from aiohttp import web
from fastapi import FastAPI

from driftstack_api.agents import Agents
from driftstack_api.main import create_app
from driftstack_api.mounted_keys import MountedKeys
from driftstack_api.services import Dependencies
from driftstack_api.settings import Settings
from driftstack_common.agent_client import AgentClient, open_session
from driftstack_common.agent_token import KeyRing
from driftstack_common.api_keys import MintedKey, mint
from driftstack_common.failpoints import Failpoints, WritePoints
from driftstack_common.hosts import Address
from driftstack_common.kube.client import Body
from driftstack_common.kube.reflector import Timing
from driftstack_common.times import format_time, now
from tests.unit.api.fake_kube import FakeKube
from tests.unit.api.polling import until

TIMING = Timing(watch_seconds=2, silence_seconds=1.0, backoff_first=0.01, backoff_most=0.05)
PNG = b"\x89PNG\r\n" + bytes(range(256))
AGENT_KEY = b"k" * 32

NOTICE = {"kind": "popup", "outcome": "front", "text": "", "url": "http://a.test/window"}
STATE = {
    "url": "http://a.test/",
    "title": "A page",
    "cookies": [
        {
            "name": "a",
            "value": "b",
            "domain": "a.test",
            "path": "/",
            "expires": 1800000000.5,
            "http_only": True,
            "secure": False,
            "same_site": "Lax",
        }
    ],
    "local_storage": {"k": "v"},
    "page_state": {"state": "errored", "error": {"kind": "http", "message": "HTTP 404", "http_status": 404}},
    "captured_at": "2026-05-12T12:00:08.000Z",
}
ANSWERS: dict[str, dict[str, Any]] = {
    "interact": {"duration_ms": 3, "notices": [NOTICE]},
    "wait": {"satisfied": False, "duration_ms": 5000, "notices": []},
    "extract": {"value": {"title": "A page", "rows": [{"n": 1.5}], "none": None}},
    "state": STATE,
}


def _navigated(body: dict[str, Any]) -> dict[str, Any]:
    final = body["url"].replace("http://", "https://")
    return {"url": body["url"], "final_url": final, "status": 200, "duration_ms": 7}


class FakeAgent:
    """Answers steps; `script` holds the next answers (status, problem), `hold` keeps steps running."""

    picture = PNG

    def __init__(self) -> None:
        self.address = ""
        self.steps: list[tuple[str, str, dict[str, Any]]] = []
        self.tokens: set[str] = set()
        self.script: list[web.Response] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.running = 0
        self.clients: list[web.WebSocketResponse] = []
        self.pongs: list[bytes] = []
        self.usage: dict[str, dict[str, dict[str, int]]] = {}
        self.asked: list[str] = []

    async def serve(self, stack: AsyncExitStack) -> None:
        """Listen on loopback until the stack closes."""
        app = web.Application()
        app.router.add_post("/sessions/{uid}/{step}", self._step)
        app.router.add_get("/sessions/{uid}/cdp", self._devtools)
        app.router.add_get("/sessions/{uid}", self._activity)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.address = f"{host}:{port}"

    def refuse(self, status: int, code: str, message: str, **details: Any) -> None:
        """Answer the next step with a problem."""
        problem = {"code": code, "message": message, "details": details}
        self.script.append(web.Response(status=status, body=json.dumps(problem).encode()))

    async def _step(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.steps.append((request.match_info["uid"], request.match_info["step"], body))
        self.tokens.add(request.headers["Authorization"])
        self.running += 1
        try:
            await self.hold.wait()
        finally:
            self.running -= 1
        if self.script:
            return self.script.pop(0)
        if request.match_info["step"] == "capture":
            return web.Response(body=self.picture, headers={"X-Driftstack-Duration-Ms": "12"})
        return web.json_response(ANSWERS.get(request.match_info["step"]) or _navigated(body))

    async def _activity(self, request: web.Request) -> web.Response:
        """Tell the steps of a session, by its uid."""
        uid = request.match_info["uid"]
        self.asked.append(uid)
        await self.hold.wait()
        usage = self.usage.get(uid, {})
        return web.json_response({"session": uid, "step": None, "idle_seconds": 0.0, "usage": usage})

    async def _devtools(self, request: web.Request) -> web.StreamResponse:
        """Echo, and let the test do the rest through `clients`."""
        assert "Origin" not in request.headers
        self.steps.append((request.match_info["uid"], "cdp", {}))
        self.tokens.add(request.headers["Authorization"])
        await self.hold.wait()
        if self.script:
            return self.script.pop(0)
        client = web.WebSocketResponse(max_msg_size=0, autoping=False, compress=False)
        await client.prepare(request)
        self.clients.append(client)
        try:
            async for message in client:
                if message.type is web.WSMsgType.TEXT:
                    await client.send_str(message.data)
                elif message.type is web.WSMsgType.PONG:
                    self.pongs.append(bytes(message.data))
        finally:
            self.clients.remove(client)
        return client


class FakeOperator:
    """Makes sessions ready and lets them go; `start` and `finish` false leave that to the test."""

    def __init__(self, kube: FakeKube, agent: FakeAgent) -> None:
        self.start = True
        self.finish = True
        self._kube = kube
        self._agent = agent

    async def run(self) -> None:
        """Act on what changes, as the operator's work queue does."""
        while True:
            changed = self._kube._changed
            for (plural, namespace, name), body in list(self._kube.objects.items()):
                if plural == "browsersessions":
                    self._act(namespace, name, body)
            await changed.wait()

    def ready(self, namespace: str, name: str) -> None:
        """Make a session ready."""
        body = json.loads(json.dumps(self._kube.objects["browsersessions", namespace, name]))
        pod = f"browser-{body['metadata']['uid']}"
        body["status"] = {
            "phase": "ready",
            "step": 0,
            "archetype": "default",
            "browser": {"pod": pod, "address": self._agent.address, "tokenKey": "1"},
            "lastTransitionTime": format_time(now()),
        }
        self._kube.put("browsersessions", body)

    def end(self, namespace: str, name: str, phase: str = "destroyed", reason: str = "Deleted") -> None:
        """Write the record and take the object away, in the operator's order."""
        body = self._kube.objects["browsersessions", namespace, name]
        self._kube.put("sessionrecords", record_of(body, phase, reason))
        self._kube.remove("browsersessions", namespace, name)

    def _act(self, namespace: str, name: str, body: Body) -> None:
        if body["metadata"].get("deletionTimestamp"):
            if self.finish:
                self.end(namespace, name)
        elif self.start and body["status"]["phase"] == "creating":
            self.ready(namespace, name)


def record_of(body: Body, phase: str = "destroyed", reason: str = "Deleted") -> Body:
    """Return the SessionRecord of a session."""
    metadata = body["metadata"]
    annotations = metadata.get("annotations", {})
    created = annotations.get("driftstack.dev/created-at") or metadata["creationTimestamp"]
    return {
        "metadata": {"name": metadata["uid"], "namespace": metadata["namespace"]},
        "spec": {
            "sessionName": metadata["name"],
            "sessionUid": metadata["uid"],
            "phase": phase,
            "reason": reason,
            "archetype": body["spec"].get("archetype", "default"),
            "label": body["spec"].get("label"),
            "metadata": body["spec"].get("metadata"),
            "apiKeyId": annotations.get("driftstack.dev/api-key-id", f"key_{uuid.UUID(int=0)}"),
            "createdAt": created,
            "endedAt": format_time(now()),
            "durationMilliseconds": 1000,
        },
    }


class World:
    """One facade and what surrounds it."""

    def __init__(self, agent: FakeAgent | None = None) -> None:
        self.kube = FakeKube()
        self.agent = agent or FakeAgent()
        self.operator = FakeOperator(self.kube, self.agent)
        self.keys: dict[str, MintedKey] = {}
        self.connect_keys = KeyRing({"1": b"c" * 32})
        self.addresses: dict[str, list[str] | OSError] = {}
        for slug in ("default", "iphone_16"):
            spec = {"slug": slug, "device": {"viewport": {"width": 1280, "height": 720}}}
            metadata = {"name": slug.replace("_", "-"), "namespace": "driftstack-system"}
            self.kube.put("archetypes", {"metadata": metadata, "spec": spec})
        self.add_account("acme", limit=3)

    def add_account(self, name: str, *, limit: int = 3, ready: bool = True, **spec: Any) -> None:
        """Put an account with one key of all rights, called like the account."""
        condition = {"type": "Ready", "status": str(ready), "reason": "Test", "lastTransitionTime": ""}
        body = {
            "metadata": {"name": name},
            "spec": {"tier": "api_builder", **spec},
            "status": {"namespace": f"acct-{name}", "limit": limit, "conditions": [condition]},
        }
        self.kube.put("accounts", body)
        self.kube.quotas[f"acct-{name}"] = limit
        if name not in self.keys:
            self.add_key(name, name, ["account_owner"])

    def add_key(self, account: str, name: str, scopes: list[str], **spec: Any) -> MintedKey:
        """Put a key; it can be used by its name."""
        key = self.keys.get(name) or mint()
        self.keys[name] = key
        body = {
            "metadata": {"name": name, "namespace": f"acct-{account}"},
            "spec": {"name": name, "scopes": scopes, "sha256": key.sha256, **spec},
        }
        self.kube.put("apikeys", body)
        return key

    async def lookup(self, host: str, port: int) -> list[Address]:
        """Resolve a name: to a public address, unless `addresses` says otherwise."""
        found = self.addresses.get(host, ["93.184.216.34"])
        if isinstance(found, OSError):
            raise found
        return [ip_address(one) for one in found]

    def session(self, public_id: str) -> Body:
        """Return the object of a session by its public id."""
        uid = public_id.removeprefix("ses_")
        return next(
            body
            for (plural, _, _), body in self.kube.objects.items()
            if plural == "browsersessions" and body["metadata"]["uid"] == uid
        )


class Facade:
    """A running application and a client of it."""

    def __init__(self, app: FastAPI, world: World, client: httpx2.AsyncClient) -> None:
        self.app = app
        self.world = world
        self.http = client

    async def call(
        self,
        method: str,
        path: str,
        *,
        key: str | None = "acme",
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> httpx2.Response:
        """Send a request with a key by name."""
        headers = dict(headers or {})
        if key is not None:
            headers.setdefault("Authorization", f"Bearer {self.world.keys[key].plaintext}")
        return await self.http.request(method, path, headers=headers, **more)

    async def create(self, key: str = "acme", **body: Any) -> dict[str, Any]:
        """Create a session that must succeed."""
        answer = await self.call("POST", "/v1/sessions", key=key, json=body)
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    async def ready(self, **body: Any) -> dict[str, Any]:
        """Create a session and wait for ready."""
        created = await self.create(**body)
        await self.until_phase(created, "ready")
        return created

    async def until_phase(self, session: dict[str, Any], phase: str) -> None:
        """Wait until the facade has seen a live session's object in this phase."""
        sessions = self.app.state.services.caches.sessions
        uid = session["id"].removeprefix("ses_")
        await until(lambda: (seen := sessions.get(uid)) and seen.session.status.phase == phase)


@asynccontextmanager
async def surroundings() -> AsyncIterator[World]:
    """A world whose agent and operator run."""
    async with AsyncExitStack() as stack:
        world = World()
        await world.agent.serve(stack)
        operator = asyncio.create_task(world.operator.run())
        try:
            yield world
        finally:
            operator.cancel()
            await asyncio.wait((operator,))


@asynccontextmanager
async def application(
    world: World, failpoints: Failpoints | None = None, **settings: Any
) -> AsyncIterator[FastAPI]:
    """The application, started, with its caches complete."""
    async with AsyncExitStack() as stack:
        session = open_session()
        stack.push_async_callback(session.close)
        client = AgentClient(session)
        if failpoints is not None:
            client = client.guarded(WritePoints(failpoints))
        agents = Agents(client, MountedKeys(KeyRing({"1": AGENT_KEY})))
        connect_keys = MountedKeys(world.connect_keys)
        dependencies = Dependencies(world.kube, agents, connect_keys, TIMING, failpoints, world.lookup)
        app = create_app(Settings(**settings), dependencies)
        await stack.enter_async_context(app.router.lifespan_context(app))
        await until(lambda: app.state.services.caches.synced)
        yield app


@asynccontextmanager
async def facade(world: World, failpoints: Failpoints | None = None, **settings: Any) -> AsyncIterator[Facade]:
    """A facade over ASGI."""
    async with application(world, failpoints, **settings) as app:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://facade", timeout=30) as client:
            yield Facade(app, world, client)
