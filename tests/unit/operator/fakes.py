"""An API server in memory and agents that answer at once, to run the operator without cluster or sockets.

Of the API server it has what the operator relies on: versions, uids, preconditions, finalizers, status as a
subresource, graceful deletion of pods, quota and terminating namespaces, and watch events.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import UUID

from driftstack_common.agent_client import AgentClient, AgentError
from driftstack_common.guard import Guard
from driftstack_common.kinds import Device, StepCounts
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import NODE, POD, KubeClient
from driftstack_common.kube.errors import (
    AlreadyExists,
    Conflict,
    Invalid,
    NamespaceTerminating,
    NotFound,
)
from driftstack_common.protocol import Activity, AgentState, Claim, Claimed, Health, Prepare

Body = dict[str, Any]
Key = tuple[str, str, str]
Event = Callable[[str, str, Body], None]
"""Told plural, event type and body."""


class FakeKube(KubeClient):
    """Objects by plural, namespace and name.

    Attributes:
        calls: every write as (verb, plural, name).
        watchers: told of every change, as a watch would.
        faults: calls that will fail yet.
        listed: the plural of each LIST, or page of one.
    """

    def __init__(self) -> None:
        self.objects: dict[Key, Body] = {}
        self.calls: list[tuple[str, str, str]] = []
        self.watchers: list[Event] = []
        self.terminating: set[str] = set()
        self.faults: list[tuple[str, str, BaseException, bool]] = []
        self.listed: list[str] = []
        self._numbers = itertools.count(100)
        self._guard: Guard | None = None

    # -- the test's side

    def fail(self, verb: str, plural: str, error: BaseException, *, after: bool = False) -> None:
        """Have the next such call fail; with `after`, only its answer is lost."""
        self.faults.append((verb, plural, error, after))

    @contextlib.contextmanager
    def sound(self) -> Iterator[None]:
        """Let no planned failure meet the calls of others than the operator."""
        faults, self.faults = self.faults, []
        try:
            yield
        finally:
            self.faults = faults

    def put_node(self, name: str) -> None:
        """Store a node that reports."""
        self.put(NODE, {"metadata": {"name": name}, "status": {}})

    def put(self, kind: Kind, body: Body) -> Body:
        """Store an object as it is, with a new uid and version where it has none."""
        body = copy.deepcopy(body)
        meta = body["metadata"]
        number = next(self._numbers)
        meta.setdefault("uid", str(UUID(int=number, version=4)))
        meta.setdefault("creationTimestamp", "2026-05-12T12:00:00Z")
        meta["resourceVersion"] = str(number)
        body.setdefault("kind", kind.name)
        self.objects[_key(kind, meta.get("namespace"), meta["name"])] = body
        self._tell(kind, "ADDED", body)
        return body

    def change(self, kind: Kind, namespace: str | None, name: str, **status: Any) -> None:
        """Change an object's status, as a kubelet or controller would."""
        body = self.objects[_key(kind, namespace, name)]
        body["status"] = {**(body.get("status") or {}), **status}
        self._changed(kind, body)

    def all(self, kind: Kind) -> list[Body]:
        return [body for (plural, *_), body in self.objects.items() if plural == kind.plural]

    def vanish(self, kind: Kind, namespace: str | None, name: str) -> None:
        """Remove an object for good, as the kubelet does with a stopped pod."""
        body = self.objects.pop(_key(kind, namespace, name))
        body["metadata"]["resourceVersion"] = str(next(self._numbers))
        self._tell(kind, "DELETED", body)

    # -- the client's side

    async def close(self) -> None:
        return None

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Body:
        self._fault("get", kind)
        return copy.deepcopy(self._find(kind, namespace, name))

    async def list_objects(self, kind: Kind, namespace: str | None = None, **query: str | int) -> Body:
        self._fault("list", kind)
        items = [body for body in self.all(kind) if namespace in (None, body["metadata"].get("namespace"))]
        items = [body for body in items if _selects(str(query.get("fieldSelector", "")), body)]
        begin, version = str(query.get("continue", f"0/{next(self._numbers)}")).split("/")
        end = int(begin) + int(query.get("limit") or len(items))
        meta = {"resourceVersion": version, **({"continue": f"{end}/{version}"} if end < len(items) else {})}
        self.listed.append(kind.plural)
        return {"metadata": meta, "items": copy.deepcopy(items[int(begin) : end])}

    async def watch(
        self,
        kind: Kind,
        namespace: str | None,
        resource_version: str,
        *,
        silence: float = 0,
        **query: str | int,
    ) -> AsyncIterator[Body]:
        await asyncio.Event().wait()  # silent for ever: tests of watches have servers of their own
        yield {}

    async def list_metadata(self, kind: Kind, namespace: str | None = None, **query: str | int) -> Body:
        listing = await self.list_objects(kind, namespace, **query)
        return {**listing, "items": [{"metadata": item["metadata"]} for item in listing["items"]]}

    async def create(self, kind: Kind, namespace: str | None, body: Body) -> Body:
        self._record("create", kind, body["metadata"]["name"])
        self._fault("create", kind)
        if namespace in self.terminating:
            raise NamespaceTerminating(f"{namespace} is being terminated", status=403)
        if _key(kind, namespace, body["metadata"]["name"]) in self.objects:
            raise AlreadyExists("it exists", status=409)
        stored = self.put(kind, body)
        self._fault("create", kind, after=True)
        return copy.deepcopy(stored)

    async def merge_patch(
        self, kind: Kind, namespace: str | None, name: str, patch: Body, subresource: str | None = None
    ) -> Body:
        self._record("patch", kind, name)
        self._fault("patch", kind)
        body = self._find(kind, namespace, name)
        meta = patch.get("metadata") or {}
        for field in ("uid", "resourceVersion"):
            if field in meta and meta[field] != body["metadata"][field]:
                raise Conflict(f"{field} differs", status=409)
        if subresource == "status":
            body["status"] = _merge(body.get("status") or {}, patch["status"])
        else:
            body.update(_merge({"metadata": body["metadata"], "spec": body.get("spec") or {}}, patch))
        return self._patched(kind, body)

    async def json_patch(
        self, kind: Kind, namespace: str | None, name: str, operations: list[Body], subresource: str | None = None
    ) -> Body:
        self._record("patch", kind, name)
        self._fault("patch", kind)
        body = copy.deepcopy(self._find(kind, namespace, name))
        for operation in operations:
            _operate(body, operation)
        self.objects[_key(kind, namespace, name)] = body
        return self._patched(kind, body)

    async def apply(
        self, kind: Kind, namespace: str | None, name: str, body: Body, manager: str, subresource: str | None = None
    ) -> Body:
        self._record("apply", kind, name)
        self._fault("apply", kind)
        known = self.objects.get(_key(kind, namespace, name))
        if known is None:
            return copy.deepcopy(self.put(kind, body))
        known.update(_merge(known, {field: body[field] for field in ("spec", "subjects") if field in body}))
        self._changed(kind, known)
        return copy.deepcopy(known)

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        version: str | None = None,
        grace_seconds: int | None = None,
    ) -> Body:
        self._record("delete", kind, name)
        self._fault("delete", kind)
        body = self._find(kind, namespace, name)
        if uid is not None and body["metadata"]["uid"] != uid:
            raise Conflict("uid differs", status=409)
        if version is not None and body["metadata"]["resourceVersion"] != version:
            raise Conflict("resourceVersion differs", status=409)
        graceful = kind is POD and grace_seconds != 0 and body["spec"].get("nodeName")  # nobody would stop it
        if not graceful and not body["metadata"].get("finalizers"):
            self.vanish(kind, namespace, name)
            return {"kind": "Status", "status": "Success"}
        body["metadata"].setdefault("deletionTimestamp", "2026-05-12T13:00:00Z")
        self._changed(kind, body)
        self._fault("delete", kind, after=True)
        return copy.deepcopy(body)

    def _patched(self, kind: Kind, body: Body) -> Body:
        meta = body["metadata"]
        if "deletionTimestamp" in meta and not meta.get("finalizers"):
            self.vanish(kind, meta.get("namespace"), meta["name"])
        else:
            self._changed(kind, body)
        self._fault("patch", kind, after=True)
        return copy.deepcopy(body)

    def _find(self, kind: Kind, namespace: str | None, name: str) -> Body:
        body = self.objects.get(_key(kind, namespace, name))
        if body is None:
            raise NotFound(f"{kind.plural} {name} not found", status=404)
        return body

    def _changed(self, kind: Kind, body: Body) -> None:
        body["metadata"]["resourceVersion"] = str(next(self._numbers))
        self._tell(kind, "MODIFIED", body)

    def _tell(self, kind: Kind, event: str, body: Body) -> None:
        for watcher in self.watchers:
            watcher(kind.plural, event, copy.deepcopy(body))

    def _record(self, verb: str, kind: Kind, name: str) -> None:
        if self._guard is not None:
            self._guard.before(f"{verb}-{kind.plural}")
        self.calls.append((verb, kind.plural, name))

    def _fault(self, verb: str, kind: Kind, *, after: bool = False) -> None:
        for fault in self.faults:
            if (fault[0], fault[1], fault[3]) == (verb, kind.plural, after):
                self.faults.remove(fault)
                raise fault[2]


class FakeAgents(AgentClient):
    """Agents by address; each takes any session, unless told otherwise.

    Attributes:
        claimed: every claim, in order.
        problem: raised instead of an answer.
        step: what `activity` says is running.
        usage: what `activity` says was done.
        prepared: devices that warm agents were told to show, by address.
        holders: sessions by the address of the agent that they hold.
        living: answer on a silent node; otherwise the node took them along.
    """

    def __init__(self) -> None:
        self.claimed: list[tuple[str, str, Claim]] = []
        self.problem: AgentError | None = None
        self.step: str | None = None
        self.usage: dict[str, StepCounts] = {}
        self.living = False
        self.holders: dict[str, str] = {}
        self.prepared: dict[str, Device] = {}

    def guarded(self, guard: Guard) -> AgentClient:
        return self

    async def claim(
        self, address: str, token: str, claim: Claim, *, timeout: float = 0, connect_timeout: float = 0
    ) -> Claimed:
        if self.problem is not None:
            raise self.problem
        self.claimed.append((address, token, claim))
        self.holders.setdefault(address, claim.session)
        return Claimed(session=claim.session, browser="HeadlessChrome/156", sandbox=None)

    async def holder(self, address: str, token: str, *, timeout: float = 0) -> str | None:
        if self.problem is not None:
            raise self.problem
        return self.holders.get(address)

    async def prepare(self, address: str, token: str, prepare: Prepare, *, timeout: float = 0) -> str | None:
        self.prepared[address] = prepare.device
        return await self.holder(address, token)

    async def health(self, address: str, *, timeout: float = 0) -> Health:
        if not self.living:
            raise AgentError("no answer")
        return Health(state=AgentState.CLAIMED)

    async def activity(self, address: str, token: str, session: str, *, timeout: float = 0) -> Activity:
        if self.problem is not None:
            raise self.problem
        return Activity(session=session, step=self.step, idle_seconds=1.0, usage=self.usage)


def _selects(selector: str, body: Body) -> bool:
    """Whether a field selector (`metadata.name=x`, `status.phase!=y`, several with commas) takes an object."""
    for term in filter(None, selector.split(",")):
        path, equal, wanted = term.replace("!=", "≠").partition("=" if "!=" not in term else "≠")
        found: Any = body
        for part in path.split("."):
            found = (found or {}).get(part)
        if (found == wanted) is not (equal == "="):
            return False
    return True


def _key(kind: Kind, namespace: str | None, name: str) -> Key:
    return kind.plural, namespace or "", name


def _merge(target: Body, patch: Body) -> Body:
    """RFC 7386."""
    merged = dict(target)
    for field, value in patch.items():
        if value is None:
            merged.pop(field, None)
        elif isinstance(value, dict):
            merged[field] = _merge(merged.get(field) or {}, value)
        else:
            merged[field] = value
    return merged


def _operate(body: Body, operation: Body) -> None:
    """The part of RFC 6902 that is used."""
    *parents, last = [p.replace("~1", "/") for p in operation["path"].strip("/").split("/")]
    target: Any = body
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target.get(part)
        if target is None:
            raise Invalid(f"no {operation['path']}", status=422)
    field = int(last) if isinstance(target, list) else last
    missing = field >= len(target) if isinstance(target, list) else field not in target
    if operation["op"] == "test":
        if missing and operation["value"] is None:  # as the API server's library sees it
            return
        if missing or target[field] != operation["value"]:
            raise Invalid(f"test of {operation['path']} failed", status=422)
    elif operation["op"] == "remove":
        del target[field]
    else:
        target[field] = operation["value"]
