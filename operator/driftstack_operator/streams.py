"""What kopf's requests tell of its watches: whether each is tried, whether it was whole, and when kopf listed anew.

kopf says none of this. Its requests go through a session of ours, and with it through here:

- Every watch asks the server to end it after a few seconds; kopf goes on from the version it has reached. An end
  that comes as asked proves that all events until then were delivered.
- A stream that does not end in time is cut, and kopf asks again, on another connection.
- Where kopf lists anew (its version had expired), deletions before that are lost to it: `relisted` is told.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import aiohttp

from driftstack_common.logging import get_logger

GRACE: Final = 2.0
"""Seconds that an end may come later than asked."""
SLACK: Final = 0.1
SHORTEST: Final = 0.25
"""Seconds between two requests of one kind: what ends streams at once must not be hammered."""
LATE: Final = 7.0
"""Seconds that a proof may be overdue before changes may be missing."""
FORGOTTEN: Final = 30.0
"""Seconds that a request may be overdue before kopf itself must be stuck; in outages it asks all the more often."""

logger = get_logger(__name__)


class Stream:
    """The watch of one kind.

    Attributes:
        kind: plural.
        interruptions: how often it broke off since the start.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.interruptions = 0
        self._tried = self._proven = time.monotonic()
        self._failing = False
        self._open = False

    @property
    def age(self) -> float:
        """Seconds since what kopf passed on was last proven complete."""
        return time.monotonic() - self._proven

    @property
    def untried(self) -> float:
        """Seconds since kopf last asked for this kind."""
        return time.monotonic() - self._tried

    def tried(self) -> float:
        """A request is being made; return the time (monotonic)."""
        if self._open:  # kopf asks for another one, so its connection was lost
            self.failed("it broke off")
        self._tried = time.monotonic()
        return self._tried

    def begun(self) -> None:
        """A stream is open."""
        self._open = True

    def ended(self, asked_for: float) -> None:
        """A stream ended that was to end then (monotonic): nothing is missing up to that time if it was reached."""
        self._open = False
        if time.monotonic() < asked_for - SLACK:  # cut short; what comes next will tell
            return
        self._proven = asked_for
        if self._failing:
            self._failing = False
            logger.info("the watch works again", kind=self.kind)

    def failed(self, error: str) -> None:
        """A request failed, or a stream broke off or was cut; said once until it works again."""
        self._open = False
        self.interruptions += 1
        if not self._failing:
            self._failing = True
            logger.warning("the watch is interrupted", kind=self.kind, error=error, age=round(self.age, 1))


class Streams:
    """Observes the requests of kopf's sessions; a middleware of aiohttp.

    Args:
        kinds: plurals that are watched; other requests pass untouched.
        watch_seconds: after this time every watch is to end.
        relisted: told a kind that kopf has listed.
    """

    def __init__(self, kinds: Iterable[str], watch_seconds: float, relisted: Callable[[str], None]) -> None:
        self._streams = {kind: Stream(kind) for kind in kinds}
        self._watch_seconds = watch_seconds
        self._relisted = relisted
        self._begun = False

    def begin(self) -> None:
        """Judge from now on: kopf starts."""
        self._begun = True
        for kind in self._streams:
            self._streams[kind] = Stream(kind)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The plurals."""
        return tuple(self._streams)

    def age(self, kind: str) -> float:
        """Return the seconds since this watch was proven whole; infinite before kopf has started."""
        return self._streams[kind].age if self._begun else math.inf

    def interruptions(self, kind: str) -> int:
        """Return how often this watch broke off."""
        return self._streams[kind].interruptions

    def forgotten(self) -> list[str]:
        """Return the kinds that kopf no longer asks for, though it should: only a new process helps."""
        most = self._watch_seconds + FORGOTTEN
        return [kind for kind, stream in self._streams.items() if self._begun and stream.untried > most]

    def stale(self) -> list[str]:
        """Return the kinds of which changes may be missing."""
        return [kind for kind in self._streams if self.age(kind) > self._watch_seconds + LATE]

    async def observe(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Pass a request on; note what becomes of it."""
        stream = self._streams.get(request.url.path.rpartition("/")[2])
        if stream is None:
            return await handler(request)
        next_page = "continue" in request.url.query
        if stream.untried < SHORTEST and not next_page:
            await asyncio.sleep(SHORTEST - stream.untried)
        begun = stream.tried()
        try:
            response = await handler(request)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            stream.failed(repr(error))
            raise
        if response.status == 404:  # the kind's CRD is gone; kopf would give up, but it may come back
            stream.failed("answered 404")
            response.close()
            raise aiohttp.ClientConnectionError(f"{stream.kind} are not served")
        if (
            response.status == 410 and next_page
        ):  # the rest of a LIST: kopf would end; it begins anew after this error
            stream.failed("its list has expired")
            response.close()
            raise aiohttp.ClientPayloadError(f"the list of {stream.kind} has expired")
        if response.status != 200:
            stream.failed(f"answered {response.status}")
        elif "watch" in request.url.query:
            self._accompany(stream, response, begun)
        elif not next_page:
            self._relisted(stream.kind)
        return response

    def _accompany(self, stream: Stream, response: aiohttp.ClientResponse, begun: float) -> None:
        stream.begun()
        cut = asyncio.get_running_loop().call_later(self._watch_seconds + GRACE, self._cut, stream, response)
        response.content.on_eof(_then(cut.cancel, partial(stream.ended, begun + self._watch_seconds)))

    @staticmethod
    def _cut(stream: Stream, response: aiohttp.ClientResponse) -> None:
        if not response.closed:
            stream.failed("it neither brings anything nor ends")
        response.close()


def _then(*calls: Callable[[], Any]) -> Callable[[], None]:
    def call() -> None:
        for each in calls:
            each()

    return call
