"""The facade's surroundings as a process of their own, over HTTP: for the facade as the process that ships.

`python -m tests.integration.api.process FOLDER` writes a kubeconfig and the agents' keys there, prints one line of
JSON (see `Told`) once it listens, and ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import sys
import uuid
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import uvloop
from aiohttp import web

from driftstack_common.kinds import (
    Account,
    AccountUsage,
    ApiKey,
    Archetype,
    Record,
    SecretRef,
    Session,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEndpointSpec,
)
from driftstack_common.kinds.meta import Meta
from driftstack_common.kube.client import JSON_PATCH
from driftstack_common.kube.errors import KubeError
from driftstack_common.times import format_time, now
from driftstack_common.webhooks.deliveries import build_delivery
from driftstack_common.webhooks.events import test_ping
from tests.integration.api.world import AGENT_KEY, FakeAgent, World, record_of
from tests.unit.api.fake_kube import FakeKube

MODELS = (Account, AccountUsage, ApiKey, Archetype, Record, Session, WebhookEndpoint, WebhookDelivery)
KINDS = {model.KIND.plural: model.KIND for model in MODELS}
_PLENTY = {"capacity": 10**9, "refillPerMinute": 10**9}
UNLIMITED = {"global": _PLENTY, "sessionsCreate": _PLENTY}
"""What is measured is how fast calls are, not how many are let through."""
COLLECTION = "/apis/{group}/{version}/{plural}"
IN_NAMESPACE = "/apis/{group}/{version}/namespaces/{namespace}/{plural}"


class Told(TypedDict):
    """What the process says: a key, and the public ids of its account's sessions."""

    key: str
    sessions: list[str]


class KubeServer:
    """FakeKube's methods as the API server's own HTTP."""

    def __init__(self, kube: FakeKube) -> None:
        self._kube = kube

    async def serve(self, stack: AsyncExitStack) -> str:
        """Listen on loopback until the stack closes; return the URL."""
        app = web.Application()
        for collection in (IN_NAMESPACE, COLLECTION):
            app.router.add_get(collection, self._answer(self._read))
            app.router.add_post(collection, self._answer(self._create))
            for item in ("/{name}", "/{name}/{subresource}"):
                app.router.add_get(collection + item, self._answer(self._get))
                app.router.add_patch(collection + item, self._answer(self._patch))
                app.router.add_delete(collection + item, self._answer(self._delete))
        runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return "http://{}:{}".format(*runner.addresses[0][:2])

    def _answer(self, act: Any) -> Any:
        async def handler(request: web.Request) -> web.StreamResponse:
            where = request.match_info
            try:
                answer = await act(request, KINDS[where["plural"]], where.get("namespace"), where.get("name"))
            except KubeError as error:
                reason = type(error).__name__
                status = {"kind": "Status", "code": error.status, "reason": reason, "message": error.message}
                return web.json_response(status, status=error.status or 500)
            if isinstance(answer, web.StreamResponse):
                return answer
            return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

        return handler

    async def _read(self, request: web.Request, kind: Any, namespace: str | None, _: None) -> Any:
        query = dict(request.query)
        if query.pop("watch", None) is None:
            return await self._kube.list_objects(kind, namespace, **query)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        version = query.pop("resourceVersion")
        with contextlib.suppress(ConnectionError):  # the facade gives up watches, too
            await response.prepare(request)
            async for event in self._kube.watch(kind, namespace, version, **query):
                await response.write(msgspec.json.encode(event) + b"\n")
        return response

    async def _get(self, request: web.Request, kind: Any, namespace: str | None, name: str) -> Any:
        return await self._kube.get(kind, namespace, name)

    async def _create(self, request: web.Request, kind: Any, namespace: str | None, _: None) -> Any:
        return await self._kube.create(kind, namespace, await request.json())

    async def _patch(self, request: web.Request, kind: Any, namespace: str | None, name: str) -> Any:
        subresource = "status" if request.path.endswith("/status") else None
        patch = self._kube.json_patch if request.content_type == JSON_PATCH else self._kube.merge_patch
        return await patch(kind, namespace, name, await request.json(), subresource)

    async def _delete(self, request: web.Request, kind: Any, namespace: str | None, name: str) -> Any:
        options = await request.json()
        return await self._kube.delete(kind, namespace, name, uid=options.get("preconditions", {}).get("uid"))


class PacedAgent(FakeAgent):
    """An agent whose `wait` for a time takes that time, and whose pictures are as large as real ones."""

    picture = bytes(range(256)) * 4 * 300

    async def _step(self, request: web.Request) -> web.Response:
        if request.match_info["step"] == "wait":
            await asyncio.sleep((await request.json())["condition"]["ms"] / 1000)
        self.steps.clear()
        return await super()._step(request)


def fill(world: World, accounts: int, keys: int, sessions: int, records: int, deliveries: int) -> list[str]:
    """Put other accounts beside `acme`, keys, live and ended sessions, deliveries; nine of ten are acme's.

    Returns:
        The public ids of acme's live sessions.
    """
    names = [f"account-{number}" for number in range(accounts - 1)]
    for name in ("acme", *names):
        world.add_account(name, limit=100_000, overrides={"rateLimits": UNLIMITED})
    for number in range(keys):
        owner = names[number % len(names)] if names else "acme"
        world.add_key(owner, f"key-{number}", ["read", "write"], createdAt=format_time(now()))

    def owner_of(number: int) -> str:
        return names[number // 10 % len(names)] if names and number % 10 == 9 else "acme"

    start = now() - timedelta(days=20)
    for number in range(records):
        body = session_body(owner_of(number), f"ended-{number}", start + timedelta(minutes=number))
        record = record_of(body)
        record["spec"] |= {
            "message": "Deleted by its owner.",
            "agentLog": LOG,
            "browser": body["status"]["browser"],
        }
        world.kube.put("sessionrecords", record)
    for number in range(deliveries):
        world.kube.put("webhookdeliveries", delivery_body(owner_of(number), start + timedelta(minutes=number)))
    mine = []
    for number in range(sessions):
        body = session_body(owner_of(number), f"live-{number}", now())
        body["status"]["browser"]["address"] = world.agent.address
        world.kube.put("browsersessions", body)
        if owner_of(number) == "acme":
            mine.append(f"ses_{body['metadata']['uid']}")
    return mine


def delivery_body(account: str, created: datetime) -> dict[str, Any]:
    """Return a delivery that has arrived, to the one endpoint of an account."""
    endpoint = WebhookEndpoint(
        metadata=Meta(name="orders", namespace=f"acct-{account}", uid=str(uuid.uuid5(uuid.NAMESPACE_DNS, account))),
        spec=WebhookEndpointSpec(url="https://a.test/", events=["session.failed"], secret_ref=SecretRef(name="s")),
    )
    stamp = format_time(created)
    status = {
        "phase": "delivered",
        "attempts": 1,
        "lastAttemptAt": stamp,
        "lastResponseStatus": 200,
        "lastResponseExcerpt": '{"status": "accepted", "queue": "browser-events", "position": 17}',
        "deliveredAt": stamp,
    }
    return {**build_delivery(endpoint, test_ping(endpoint.id, created)), "status": status}


LOG = '{"timestamp":"2026-05-12T12:00:08.000Z","level":"info","event":"claimed"}\n' * 8


def session_body(account: str, name: str, created: Any) -> dict[str, Any]:
    """Return a ready session as the API server stores it, managed fields and all."""
    stamp = format_time(created)
    fields = {f"f:field-{number}": {".": {}, "f:name": {}} for number in range(20)}
    return {
        "metadata": {
            "name": name,
            "namespace": f"acct-{account}",
            "uid": str(uuid.uuid4()),
            "creationTimestamp": stamp[:19] + "Z",
            "generation": 1,
            "finalizers": ["driftstack.dev/session"],
            "annotations": {
                "driftstack.dev/created-at": stamp,
                "driftstack.dev/api-key-id": f"key_{uuid.uuid4()}",
            },
            "managedFields": [{"manager": "driftstack-api", "operation": "Update", "fieldsV1": fields}],
        },
        "spec": {"archetype": "default", "label": f"ticket {name}", "metadata": {"ticket": name, "retries": 3}},
        "status": {
            "phase": "ready",
            "step": 0,
            "archetype": "default",
            "reason": "",
            "browser": {
                "pod": f"browser-{name}",
                "node": "node-1",
                "address": "10.0.0.1:8080",
                "tokenKey": "1",
                "version": "156.0.8078.79",
            },
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "BrowserAnswers", "lastTransitionTime": stamp}
            ],
            "lastTransitionTime": stamp,
            "readyIn": "0.41s",
            "pool": "hit",
            "stages": {"accepted": stamp, "podCreated": stamp, "podRunning": stamp, "ready": stamp},
        },
    }


async def serve(folder: Path, sizes: dict[str, int]) -> None:
    """Run until standard input closes."""
    async with AsyncExitStack() as stack:
        world = World(PacedAgent())
        await world.agent.serve(stack)
        sessions = fill(world, **sizes)
        gc.freeze()  # this process must not stand still for the seconds that scanning all of it takes
        url = await KubeServer(world.kube).serve(stack)
        operator = asyncio.create_task(world.operator.run())
        stack.callback(operator.cancel)
        (folder / "kubeconfig").write_text(json.dumps(kubeconfig(url)))
        (folder / "keys").mkdir(exist_ok=True)
        (folder / "keys" / "1").write_bytes(AGENT_KEY)
        print(json.dumps(Told(key=world.keys["acme"].plaintext, sessions=sessions)), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def kubeconfig(url: str) -> dict[str, Any]:
    """Return a kubeconfig for this server, without credentials."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "memory",
        "contexts": [{"name": "memory", "context": {"cluster": "memory", "user": "anybody"}}],
        "clusters": [{"name": "memory", "cluster": {"server": url}}],
        "users": [{"name": "anybody", "user": {}}],
    }


def main() -> None:
    """Read how much to fill in."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name, default in (("accounts", 1), ("keys", 0), ("sessions", 0), ("records", 0), ("deliveries", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    sizes = vars(parser.parse_args())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sizes.pop("folder"), sizes))


if __name__ == "__main__":
    main()
