"""An API server that keeps one Lease, slowly and unreliably, and a loop in which hours pass at once."""

from __future__ import annotations

import asyncio
import copy
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import Body, KubeClient
from driftstack_common.kube.errors import AlreadyExists, Conflict, NotFound, Unreachable
from driftstack_operator.leadership.elector import Elector


class _Selector(selectors.DefaultSelector):
    """Instead of waiting, lets the time pass."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing will ever happen any more"
        self.now += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time passes when nothing else is left to do."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work)


class Server:
    """The Lease, as stored.

    Attributes:
        stored: None while there is none.
        delay: called for the seconds that each way of a request takes; an exception is what becomes of it.
        writes: identities of who wrote, in order, empty for a release.
    """

    def __init__(self, delay: Callable[[], float] = lambda: 0.001) -> None:
        self.stored: Body | None = None
        self.delay = delay
        self.writes: list[str] = []
        self._version = 100
        self._changed = asyncio.Event()

    def store(self, spec: dict[str, Any]) -> Body:
        self._version += 1
        metadata = {"name": "driftstack-operator", "resourceVersion": str(self._version)}
        spec = {key: value for key, value in spec.items() if value is not None}
        self.stored = {"metadata": metadata, "spec": spec}
        self.writes.append(spec.get("holderIdentity", ""))
        self._changed.set()
        self._changed = asyncio.Event()
        return copy.deepcopy(self.stored)

    async def changed(self) -> None:
        await self._changed.wait()


class LeaseKube(KubeClient):
    """A client of it; what is unreachable stays so until told otherwise."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.unreachable = False
        self.deaf = False
        """The watch brings nothing."""

    async def _travel(self) -> None:
        if self.unreachable:  # see transport.UNACKNOWLEDGED
            await asyncio.sleep(3)
            raise Unreachable("no acknowledgement")
        await asyncio.sleep(self._server.delay())

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Body:
        await self._travel()
        if self._server.stored is None:
            raise NotFound("no lease", status=404)
        stored = copy.deepcopy(self._server.stored)
        await self._travel()
        return stored

    async def create(self, kind: Kind, namespace: str | None, body: Body) -> Body:
        await self._travel()
        if self._server.stored is not None:
            raise AlreadyExists("it exists", status=409)
        stored = self._server.store(body["spec"])
        await self._travel()
        return stored

    async def merge_patch(
        self, kind: Kind, namespace: str | None, name: str, patch: Body, subresource: str | None = None
    ) -> Body:
        await self._travel()
        known = self._server.stored
        if known is None:
            raise NotFound("no lease", status=404)
        if patch["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"]:
            raise Conflict("changed since", status=409)
        stored = self._server.store({**known["spec"], **patch["spec"]})
        await self._travel()
        return stored

    async def watch(
        self, kind: Kind, namespace: str | None, resource_version: str, *, silence: float = 70.0, **_: str | int
    ) -> AsyncIterator[Body]:
        while True:
            stored = self._server.stored
            if stored is not None and stored["metadata"]["resourceVersion"] != resource_version and not self.deaf:
                resource_version = stored["metadata"]["resourceVersion"]
                await self._travel()
                yield {"type": "MODIFIED", "object": stored}
                continue
            try:
                async with asyncio.timeout(silence):
                    await self._server.changed()
            except TimeoutError as error:
                raise Unreachable("the watch is silent") from error


def candidate(
    server: Server, identity: str, *, seconds: int = 3, rate: float = 1.0, offset: float = 0.0
) -> Elector:
    """Return a candidate with a clock of its own."""
    loop = asyncio.get_running_loop()
    return Elector(
        LeaseKube(server),
        namespace="driftstack-system",
        identity=identity,
        seconds=seconds,
        clock=lambda: offset + rate * loop.time(),
    )
