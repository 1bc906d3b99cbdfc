"""A local copy of all objects of one kind, kept up to date by list and watch.

Readers ask the copy and cost the API server nothing. What makes it trustworthy:

- A list is compared with the copy, so that what vanished since the last one is reported as removed.
- Every watch asks the server to end it after a few seconds, and the next one goes on from there. An end that comes
  as asked proves that the stream was complete until then (bookmarks alone do not: they come once a minute, and not
  at all for a kind without events; an event may have been on its way for long). A stream that neither speaks nor
  ends in time is dropped, and `age` grows until another one works.
- An object that can't be read is logged and left out; it never stops the stream, and nothing ends the reflector.
  Where a copy says what is allowed, one that can no longer be read goes: its last form may allow too much.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from driftstack_common.kinds.meta import Kind, Resource, from_body
from driftstack_common.kube.errors import Expired, KindGone, KubeError, Unreachable, from_status
from driftstack_common.kube.pages import PAGE, pages
from driftstack_common.logging import get_logger

Body = dict[str, Any]
Key = tuple[str, str]
R = TypeVar("R", bound=Resource)

_log = get_logger(__name__)


class ListWatch(Protocol):
    """The part of KubeClient that a reflector uses."""

    async def list_objects(self, kind: Kind, namespace: str | None = None, **query: str | int) -> Body:
        """Return one page."""

    def watch(
        self, kind: Kind, namespace: str | None, resource_version: str, *, silence: float = ..., **query: str | int
    ) -> AsyncIterator[Body]:
        """Yield events until the server ends the stream."""


@dataclass(frozen=True)
class Timing:
    """How a reflector paces itself.

    Attributes:
        page: objects per page of a list.
        watch_seconds: after this time the server ends each watch.
        silence_seconds: a watch without a byte for so long, once it has begun, is dead; must be more than
            watch_seconds.
        backoff_first, backoff_most: seconds before the first and later attempts after failures; each delay is
            between half and all of a doubling value. The longest is how much later than the API server a copy is
            back.
    """

    page: int = PAGE
    watch_seconds: int = 2
    silence_seconds: float = 4.0
    backoff_first: float = 0.1
    backoff_most: float = 1.0

    def backoff(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row, seconds."""
        most = min(self.backoff_most, self.backoff_first * 2.0 ** min(failures - 1, 20))
        return most * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


DEFAULT_TIMING: Final = Timing()
_AS_ASKED: Final = 0.95
"""Share of watch_seconds after which an end is the one asked for; clocks differ a little."""


class Reflector(Generic[R]):
    """Keeps `objects` equal to what the API server has; `run` it as a task.

    Args:
        client: where to list and watch.
        kind: the model of the objects.
        keep: returns what of an object to keep in the copy.
        stored: called with (the object before, or None; the object now) for each new or changed object.
        removed: called with the last known object of each that is gone.
        namespace: None watches all.
        forgets: an object whose change can't be read is removed from the copy, and not kept as it was.

    Attributes:
        synced: everything was listed once.
        unserved: the API server doesn't know the kind.

    `keep`, `stored` and `removed` run inside the stream: they must be quick, and must not wait.
    """

    def __init__(
        self,
        client: ListWatch,
        kind: type[R],
        *,
        keep: Callable[[R], R] = lambda read: read,
        stored: Callable[[R | None, R], None] = lambda _old, _new: None,
        removed: Callable[[R], None] = lambda _old: None,
        namespace: str | None = None,
        forgets: bool = False,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self.kind = kind
        self.objects: dict[Key, R] = {}
        self.synced = False
        self.unserved = False
        self.lists = 0
        self.undecodable = 0
        self._client = client
        self._keep = keep
        self._stored = stored
        self._removed = removed
        self._namespace = namespace
        self._forgets = forgets
        self._timing = timing
        self._failures = 0
        self._proven_at: float | None = None

    @property
    def name(self) -> str:
        """The plural of the kind, for logs and metrics."""
        return self.kind.KIND.plural

    @property
    def age(self) -> float:
        """Seconds since the copy was last known to be complete; infinite before the first list."""
        return float("inf") if self._proven_at is None else time.monotonic() - self._proven_at

    async def run(self) -> None:
        """List and watch until cancelled; failures are retried for ever."""
        while True:
            try:
                await self._follow(await self._list())
            except KubeError as error:
                self.unserved = isinstance(error, KindGone)
                await self._pause(str(error))
            except Exception as error:  # an answer that makes no sense, whatever it is: the next list repairs it
                await self._pause(repr(error))

    async def _pause(self, why: str) -> None:
        self._failures += 1
        delay = self._timing.backoff(self._failures)
        _log.warning("watch interrupted", kind=self.name, error=why, retry_in=round(delay, 3))
        await asyncio.sleep(delay)

    async def _list(self) -> str:
        """Read everything, tell what changed or vanished; return where to watch from."""
        started = time.monotonic()
        seen: set[Key] = set()
        version = ""
        async for page in pages(
            self._client.list_objects, self.kind.KIND, self._namespace, limit=self._timing.page
        ):
            version = str(page["metadata"]["resourceVersion"])
            for body in page.get("items") or []:
                seen.add(_key(body))
                self._store(body)
        for key in [key for key in self.objects if key not in seen]:
            self._remove(key)
        self.lists += 1
        self.synced, self.unserved = True, False
        self._proven_at = started
        return version

    async def _follow(self, version: str) -> None:
        """Watch, stream after stream, each from where the last one ended; leave only by an exception."""
        while True:
            started = time.monotonic()
            before = version
            stream = self._client.watch(
                self.kind.KIND,
                self._namespace,
                version,
                silence=self._timing.silence_seconds,
                timeoutSeconds=self._timing.watch_seconds,
            )
            async with aclosing(cast("AsyncGenerator[Body]", stream)):
                async for event in stream:
                    version = self._take(event)
                    self._failures = 0
            self._ended(started, moved=version != before)

    def _ended(self, started: float, *, moved: bool) -> None:
        """Judge the end of a stream: as asked, it had all that happened until then; an early one proves nothing."""
        asked = self._timing.watch_seconds * _AS_ASKED
        lasted = time.monotonic() - started
        if lasted >= asked:
            self._proven_at = started + asked
            self._failures = 0
        elif not moved and lasted < self._timing.watch_seconds / 4:
            # Something that ends streams at once (a proxy, a server that shuts down) must not be hammered.
            raise Unreachable(f"watch of {self.name} ended as soon as it had begun")

    def _take(self, event: Body) -> str:
        """Apply one event; return the version it brings the copy to."""
        kind, body = event.get("type"), event.get("object") or {}
        if kind == "ERROR":
            raise _stream_error(body)
        if kind in ("ADDED", "MODIFIED"):
            self._store(body)
        elif kind == "DELETED":
            self._remove(_key(body))
        return str(body["metadata"]["resourceVersion"])

    def _store(self, body: Body) -> None:
        key = _key(body)
        old = self.objects.get(key)
        if old is not None and old.metadata.resource_version == body["metadata"].get("resourceVersion"):
            return
        try:
            new = self._keep(from_body(self.kind, body))
            if old is not None and old.metadata.uid != new.metadata.uid:
                self._remove(key)
                old = None
            self.objects[key] = new
            self._stored(old, new)
        except Exception as error:  # one odd object, whatever is odd about it, must not hide all others
            self._skip(key, error)
            if self._forgets:
                self._remove(key)

    def _remove(self, key: Key) -> None:
        old = self.objects.pop(key, None)
        if old is None:
            return
        try:
            self._removed(old)
        except Exception as error:  # as in _store
            self._skip(key, error)

    def _skip(self, key: Key, error: Exception) -> None:
        self.undecodable += 1
        _log.error("object left out", kind=self.name, namespace=key[0], name=key[1], error=repr(error))


class Signals:
    """Lets coroutines wait until something is true of one key, woken only by changes of that key.

    Attributes:
        listeners: called with the key of every change; they must be quick.
    """

    def __init__(self) -> None:
        self.listeners: list[Callable[[str], None]] = []
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    def notify(self, key: str) -> None:
        """Wake who waits for this key, and call who listens to all."""
        for heard in self.listeners:
            heard(key)
        for future in self._waiting.pop(key, ()):
            if not future.done():
                future.set_result(None)

    async def wait_for(self, key: str, predicate: Callable[[], bool], seconds: float) -> bool:
        """Return True as soon as the predicate holds, False when it doesn't within this time."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not predicate():
            remaining = deadline - asyncio.get_running_loop().time()
            if remaining <= 0:
                return False
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(key, set()).add(future)
            try:
                await asyncio.wait((future,), timeout=remaining)
            finally:
                self._forget(key, future)
        return True

    def _forget(self, key: str, future: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.discard(future)
            if not waiting:
                del self._waiting[key]


def _key(body: Body) -> Key:
    metadata = body["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def _stream_error(status: Body) -> KubeError:
    code = int(status.get("code") or 500)
    return Expired(str(status.get("message")), status=410) if code == 410 else from_status(code, status)
