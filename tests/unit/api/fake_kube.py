"""A small API server in memory, behind KubeClient's own methods: versions, watches, quotas, JSON patches."""

from __future__ import annotations

import asyncio
import copy
import uuid
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from operator import itemgetter
from typing import Any

from driftstack_common.kinds import Session
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import Body, KubeClient
from driftstack_common.kube.errors import (
    AlreadyExists,
    Conflict,
    Invalid,
    KubeError,
    NotFound,
    QuotaExceeded,
    Unreachable,
)
from driftstack_common.times import format_time, now

QUOTA_TEXT = 'browsersessions "x" is forbidden: exceeded quota: driftstack-sessions'


class FakeKube(KubeClient):
    """What a test sees: `objects`, `calls`; what it can do: `put`, `remove`, `fail`, `hang`, `cut`, `mute`."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Body] = {}
        self.calls: list[tuple[str, str]] = []
        self.failures: dict[str, KubeError] = {}
        self.hanging: set[str] = set()
        self.slowness = 0.0
        self.nonsense: list[Any] = []
        self.quotas: dict[str, int] = {}
        self.watch_seconds: float | None = None
        self.muted = False
        self.after_create: Callable[[Body], None] = lambda _body: None
        self._version = 100
        self._oldest = 0
        self._log: list[tuple[int, str, str, Body]] = []
        self._changed = asyncio.Event()
        self._cuts = 0
        self._pages: dict[str, list[Body]] = {}

    # What tests do.

    def put(self, plural: str, body: Body) -> Body:
        """Create or replace an object and tell the watches."""
        body = copy.deepcopy(body)
        metadata = body["metadata"]
        key = (plural, metadata.get("namespace") or "", metadata["name"])
        known = self.objects.get(key, {"metadata": {}})
        before = known["metadata"]
        metadata.setdefault("uid", before.get("uid") or str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", before.get("creationTimestamp") or format_time(now()))
        metadata["generation"] = before.get("generation", 0) + (known.get("spec") != body.get("spec"))
        event = "MODIFIED" if key in self.objects else "ADDED"
        self._emit(event, plural, body)
        self.objects[key] = body
        return body

    def remove(self, plural: str, namespace: str, name: str, *, quietly: bool = False) -> None:
        """Take an object away; quietly tells no watch, as if it had happened between two of them."""
        body = self.objects.pop((plural, namespace, name))
        if not quietly:
            self._emit("DELETED", plural, body)

    def cut(self) -> None:
        """Break all watches off, and forget what happened so far: going on from there is Expired."""
        self._oldest = self._version
        self._cuts += 1
        self._wake()

    def fail(self, method: str, error: KubeError | None) -> None:
        """Make a method fail until told otherwise."""
        self.failures.pop(method, None)
        if error is not None:
            self.failures[method] = error

    def blind(self) -> None:
        """Break all watches off, and let no copy be made anew; single objects can still be read and written."""
        for method in ("list", "watch"):
            self.fail(method, Unreachable("away"))
        self.cut()

    # What the code under test calls.

    async def close(self) -> None:
        pass

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Body:
        await self._called("get", kind)
        return copy.deepcopy(self._find(kind, namespace, name))

    async def list_objects(self, kind: Kind, namespace: str | None = None, **query: str | int) -> Body:
        await self._called("list", kind)
        token = str(query.get("continue", ""))
        if token:
            items = self._pages.pop(token)
        else:
            items = [
                body
                for (plural, where, _), body in self.objects.items()
                if plural == kind.plural and namespace in (None, where)
            ]
        limit = int(query.get("limit", 0)) or len(items)
        metadata: Body = {"resourceVersion": str(self._version)}
        if len(items) > limit:
            metadata["continue"] = str(uuid.uuid4())
            self._pages[metadata["continue"]] = items[limit:]
        return {"metadata": metadata, "items": copy.deepcopy(items[:limit])}

    async def create(self, kind: Kind, namespace: str | None, body: Body) -> Body:
        await self._called("create", kind)
        if (kind.plural, namespace or "", body["metadata"]["name"]) in self.objects:
            raise AlreadyExists("already exists", status=409)
        live = [key for key in self.objects if key[:2] == (kind.plural, namespace or "")]
        if kind is Session.KIND and len(live) >= self.quotas.get(namespace or "", 1000):
            raise QuotaExceeded(QUOTA_TEXT, status=403)
        body = {**body, "metadata": {**body["metadata"], "namespace": namespace}}
        if kind is Session.KIND:
            body["status"] = {"phase": "creating", "step": 0}
            body["metadata"]["finalizers"] = ["driftstack.dev/session"]
        stored = self.put(kind.plural, body)
        answer = copy.deepcopy(stored)
        self.after_create(stored)
        return answer

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        grace_seconds: int | None = None,
    ) -> Body:
        await self._called("delete", kind)
        body = self._find(kind, namespace, name)
        if uid is not None and body["metadata"]["uid"] != uid:
            raise Conflict("another object", status=409)
        if body["metadata"].get("finalizers"):
            body = copy.deepcopy(body)
            body["metadata"].setdefault("deletionTimestamp", format_time(now()))
            return {"kind": kind.name, **self.put(kind.plural, body)}
        self.remove(kind.plural, namespace or "", name)
        return body

    async def json_patch(
        self, kind: Kind, namespace: str | None, name: str, operations: list[Body], subresource: str | None = None
    ) -> Body:
        await self._called("patch", kind)
        body = copy.deepcopy(self._find(kind, namespace, name))
        for operation in operations:
            _apply(body, operation)
        return self.put(kind.plural, body)

    async def merge_patch(
        self, kind: Kind, namespace: str | None, name: str, patch: Body, subresource: str | None = None
    ) -> Body:
        await self._called("patch", kind)
        body = copy.deepcopy(self._find(kind, namespace, name))
        expected = patch.get("metadata", {})
        if any(body["metadata"].get(field) != value for field, value in expected.items()):
            raise Conflict("another object, or another version", status=409)
        for part in ("spec", "status") if subresource is None else (subresource,):
            if part in patch:
                body[part] = {**body.get(part, {}), **patch[part]}
        return self.put(kind.plural, body)

    async def watch(
        self,
        kind: Kind,
        namespace: str | None,
        resource_version: str,
        *,
        silence: float = 70.0,
        **query: str | int,
    ) -> AsyncIterator[Body]:
        await self._called("watch", kind)
        seconds = self.watch_seconds or float(query["timeoutSeconds"])
        position, cuts = int(resource_version), self._cuts
        if position < self._oldest:
            yield {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}
            return
        told = bisect_right(self._log, position, key=itemgetter(0))
        deadline = asyncio.get_running_loop().time() + seconds
        while self.nonsense:
            yield self.nonsense.pop(0)
        while True:
            news = [] if self.muted else self._log[told:]
            told += len(news)
            for _, event, plural, body in news:
                if plural == kind.plural:
                    yield {"type": event, "object": copy.deepcopy(body)}
            if self._cuts != cuts:
                raise Unreachable("cut")
            if not await self._wait(deadline) and not self.muted:
                return
            if self.muted:
                await asyncio.sleep(silence)
                raise Unreachable("silent")

    async def _wait(self, deadline: float) -> bool:
        remaining = deadline - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(0.0, remaining)):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _called(self, method: str, kind: Kind) -> None:
        self.calls.append((method, kind.plural))
        await asyncio.sleep(self.slowness)
        if method in self.hanging:
            await asyncio.Event().wait()
        error = self.failures.get(method) or self.failures.get(f"{method} {kind.plural}")
        if error is not None:
            raise error

    def _find(self, kind: Kind, namespace: str | None, name: str) -> Body:
        body = self.objects.get((kind.plural, namespace or "", name))
        if body is None:
            raise NotFound("not found", status=404)
        return body

    def _emit(self, event: str, plural: str, body: Body) -> None:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self._log.append((self._version, event, plural, copy.deepcopy(body)))
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _apply(body: Body, operation: Body) -> None:
    """One operation of RFC 6902 on nested objects."""
    *parents, last = [part.replace("~1", "/") for part in operation["path"].split("/")[1:]]
    target: Any = body
    for part in parents:
        if part not in target:
            raise Invalid(f"no {part}", status=422)
        target = target[part]
    if operation["op"] == "test":
        if target.get(last) != operation["value"]:
            raise Invalid(f"test of {operation['path']} failed", status=422)
    else:
        target[last] = operation["value"]
