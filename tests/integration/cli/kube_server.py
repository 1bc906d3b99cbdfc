"""The API server in memory of the facade's tests, over HTTP."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from driftstack_common.kinds import Account, ApiKey, Session
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import NAMESPACE, Body
from driftstack_common.kube.errors import KubeError
from tests.unit.api.fake_kube import FakeKube

KINDS = {kind.plural: kind for kind in (Account.KIND, ApiKey.KIND, Session.KIND, NAMESPACE)}
REASONS = {404: "NotFound", 409: "AlreadyExists", 403: "Forbidden", 422: "Invalid"}


class KubeServer:
    """Serves `kube`.

    Attributes:
        missing: plurals without a CRD.
        refusals: answers (status, message) by method.
        resets: how many reads end with a broken connection.
    """

    def __init__(self) -> None:
        self.kube = FakeKube()
        self.url = ""
        self.missing: set[str] = set()
        self.refusals: dict[str, tuple[int, str]] = {}
        self.namespaces: set[str] = set()
        self.resets = 0

    def application(self) -> web.Application:
        """Return what to serve."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.Response:
        parts = request.path.strip("/").split("/")[3:]
        namespace = parts[1] if parts[0] == "namespaces" else None
        plural, *name = parts[2:] if namespace else parts
        if plural in self.missing:
            return web.Response(status=404, text="404 page not found\n")
        if request.method == "GET" and self.resets:
            self.resets -= 1
            assert request.transport is not None
            request.transport.close()
        if request.method in self.refusals:
            status, message = self.refusals[request.method]
            return _status(status, message)
        answer: Callable[..., Awaitable[Body]] = getattr(self, f"_{request.method.lower()}")
        try:
            return web.json_response(await answer(request, KINDS[plural], namespace, *name))
        except KubeError as error:
            return _status(error.status, error.message, type(error).__name__)

    async def _get(self, request: web.Request, kind: Kind, namespace: str | None, *name: str) -> Body:
        if name:
            return {**_typed(kind), **await self.kube.get(kind, namespace, *name)}
        query = {key: value for key, value in request.query.items() if key in ("limit", "continue")}
        return await self.kube.list_objects(kind, namespace, **query)

    async def _post(self, request: web.Request, kind: Kind, namespace: str | None) -> Body:
        if namespace is not None and namespace not in self.namespaces:
            raise KubeError(f'namespaces "{namespace}" not found', status=404)
        return {**_typed(kind), **await self.kube.create(kind, namespace, await request.json())}

    async def _patch(self, request: web.Request, kind: Kind, namespace: str | None, name: str) -> Body:
        body = _merged(await self.kube.get(kind, namespace, name), await request.json())
        return {**_typed(kind), **self.kube.put(kind.plural, body)}

    async def _delete(self, request: web.Request, kind: Kind, namespace: str | None, name: str) -> Body:
        uid = (await request.json()).get("preconditions", {}).get("uid")
        return {**_typed(kind), **await self.kube.delete(kind, namespace, name, uid=uid)}


@asynccontextmanager
async def served() -> AsyncIterator[KubeServer]:
    """Serve on loopback."""
    server = KubeServer()
    runner = web.AppRunner(server.application(), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = "http://{}:{}".format(*runner.addresses[0][:2])
        yield server
    finally:
        await runner.cleanup()


def _status(status: int, message: str, reason: str = "") -> web.Response:
    """Answer with a Status; of the reasons, the client tells those of 409 apart."""
    told = reason if reason == "Conflict" else REASONS.get(status, "")
    body = {"kind": "Status", "message": message, "reason": told, "code": status}
    return web.json_response(body, status=status)


def _typed(kind: Kind) -> Body:
    return {"apiVersion": kind.api_version, "kind": kind.name}


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = copy.deepcopy(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result
