"""An API server over HTTP that has lists, watches and discovery, and every fault of a watch on demand."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import NAMESPACE

Body = dict[str, Any]
CRD = Kind(
    "CustomResourceDefinition",
    "customresourcedefinitions",
    group="apiextensions.k8s.io",
    version="v1",
    namespaced=False,
)
"""kopf starts only where this and namespaces are among the kinds."""


class FakeServer:
    """Objects by plural and name, all in one namespace; every change is an event.

    Attributes:
        requests: of every list and watch, as (plural, "list" or "watch", version watched from).
        silent: while set, streams bring nothing and never end.
        failing: status that lists and watches are answered with, 0 for none.
        oldest: versions before this one have expired.
        hasty: streams end as soon as they have begun.
    """

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self.kinds = tuple(kinds)
        self.requests: list[tuple[str, str, int]] = []
        self.silent = False
        self.failing = 0
        self.oldest = 0
        self.hasty = False
        self.version = 100
        self._objects: dict[tuple[str, str], Body] = {}
        self._events: list[tuple[int, str, str, Body]] = []
        self._changed = asyncio.Event()
        self._uids = itertools.count(1)

    def put(self, plural: str, name: str) -> None:
        """Create an object or change it."""
        self.version += 1
        known = self._objects.get((plural, name))
        uid = known["metadata"]["uid"] if known else f"uid-{next(self._uids)}"
        body = {"metadata": {"name": name, "uid": uid, "resourceVersion": str(self.version)}}
        self._objects[plural, name] = body
        self._happened("MODIFIED" if known else "ADDED", plural, body)

    def drop(self, plural: str, name: str) -> None:
        """Delete an object."""
        self.version += 1
        body = self._objects.pop((plural, name))
        self._happened(
            "DELETED", plural, body | {"metadata": body["metadata"] | {"resourceVersion": str(self.version)}}
        )

    def expire(self) -> None:
        """Forget all events, as a restarted API server has."""
        self._events.clear()
        self.version += 1
        self.oldest = self.version

    def asked(self, plural: str, how: str) -> list[int]:
        """Return the versions of the requests for a kind."""
        return [version for kind, verb, version in self.requests if (kind, verb) == (plural, how)]

    def application(self) -> web.Application:
        """Return what to serve."""
        application = web.Application()
        application.router.add_get("/{path:.*}", self._handle)
        return application

    def _happened(self, event: str, plural: str, body: Body) -> None:
        self._events.append((self.version, plural, event, body))
        self._changed.set()
        self._changed = asyncio.Event()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        plural = request.path.rpartition("/")[2]
        if plural not in {kind.plural for kind in self.kinds}:
            return web.json_response(self._discovery(request.path))
        since = int(request.query.get("resourceVersion", 0))
        self.requests.append((plural, "watch" if "watch" in request.query else "list", since))
        if self.failing:
            return web.json_response({"kind": "Status", "message": "no", "code": self.failing}, status=self.failing)
        if "watch" in request.query:
            return await self._watch(request, plural, since)
        items = [body for (kind, _), body in self._objects.items() if kind == plural]
        return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "items": items})

    async def _watch(self, request: web.Request, plural: str, since: int) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if since < self.oldest:
            await _send(response, "ERROR", {"kind": "Status", "code": 410, "message": "too old"})
        elif not self.hasty:
            await self._stream(response, plural, since, float(request.query["timeoutSeconds"]))
        await response.write_eof()
        return response

    async def _stream(self, response: web.StreamResponse, plural: str, since: int, seconds: float) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while self.silent or asyncio.get_running_loop().time() < deadline:
            changed = self._changed
            for version, kind, event, body in self._events:
                if kind == plural and version > since and not self.silent:
                    since = version
                    await _send(response, event, body)
            try:
                async with asyncio.timeout(max(0.01, deadline - asyncio.get_running_loop().time())):
                    await changed.wait()
            except TimeoutError:
                continue

    def _discovery(self, path: str) -> Body:
        groups = {kind.group: kind.version for kind in self.kinds if kind.group}
        if path == "/api":
            return {"versions": ["v1"]}
        if path == "/apis":
            groups[CRD.group] = CRD.version
            return {"groups": [_group(name, version) for name, version in groups.items()]}
        group = "" if path == "/api/v1" else path.split("/")[2]
        kinds = (*self.kinds, NAMESPACE, CRD)
        return {"resources": [_resource(kind) for kind in kinds if kind.group == group]}


async def _send(response: web.StreamResponse, event: str, body: Body) -> None:
    await response.write(json.dumps({"type": event, "object": body}).encode() + b"\n")


def _group(name: str, version: str) -> Body:
    return {"name": name, "versions": [{"version": version}], "preferredVersion": {"version": version}}


def _resource(kind: Kind) -> Body:
    verbs = ["get", "list", "watch"]
    names = {"name": kind.plural, "kind": kind.name, "singularName": kind.name.lower()}
    return {**names, "namespaced": kind.namespaced, "verbs": verbs}
