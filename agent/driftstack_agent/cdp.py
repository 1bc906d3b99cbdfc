"""The connection to Chromium: commands with deadlines, events to bounded queues.

What arrives is only routed here: an answer to the one who waits for it, an event to its subscribers' queues. No
code of a subscriber runs while routing, so none can block another or itself. A queue that overflows ends its
subscription with SubscriberLagged: a reader that lost events must know.

Sessions of DevTools clients are handed over to their relays, which take undecoded messages and only translate them.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from driftstack_agent.errors import (
    CdpError,
    CdpFailure,
    CommandTimeout,
    ConnectionClosed,
    MessageTooLarge,
    SubscriberLagged,
    TargetClosed,
)
from driftstack_agent.framing import MESSAGE_LIMIT, Oversize, Splitter

COMMAND_SECONDS: Final = 10.0
"""Deadline of a command that names none: after a renderer crash Chromium answers nothing, ever."""
QUEUE_EVENTS: Final = 8192
"""Events that may wait in a subscription; a chunk of the pipe holds about 800."""
_SESSION_NOT_FOUND: Final = -32001
_ID: Final = re.compile(rb'^\{"id":(\d+),')

T = TypeVar("T")


class Event(NamedTuple):
    """One event; decode params with a type of yours: `event.read(FrameNavigated)`."""

    method: str
    params: msgspec.Raw
    session: str

    def read(self, kind: type[T]) -> T:
        """Decode the parameters."""
        return msgspec.json.decode(self.params, type=kind)


class _Refusal(msgspec.Struct):
    code: int
    message: str
    data: Any = ""


class Message(msgspec.Struct, rename="camel"):
    """A message of Chromium, undecoded: an answer has an id, and an error or a result; all else is an event."""

    id: int | None = None
    method: str = ""
    session_id: str = ""
    params: msgspec.Raw = msgspec.Raw(b"{}")
    result: msgspec.Raw = msgspec.Raw(b"{}")
    error: msgspec.Raw = msgspec.Raw(b"")


class _Detached(msgspec.Struct, rename="camel"):
    session_id: str


class Writable(Protocol):
    """The part of a write transport that the connection uses."""

    def write(self, data: bytes) -> None:
        """Queue bytes for writing."""

    def close(self) -> None:
        """Close after what is queued is written."""


class Receiver(Protocol):
    """Takes what Chromium says to sessions that aren't the agent's own."""

    def event(self, message: Message) -> None:
        """Take an event."""

    def answer(self, number: int, message: Message) -> None:
        """Take the answer to the command that forward() has given this number."""

    def too_large(self, number: int, error: MessageTooLarge) -> None:
        """Take note that the answer was thrown away."""


class Subscription:
    """Events of some methods in one session, in order: `with … as events: act(); async for event in events`.

    Subscribed before the act, it can't miss what the act causes.
    """

    def __init__(self, connection: Connection, methods: frozenset[str], session: str, limit: int) -> None:
        self._connection = connection
        self._methods = methods
        self.session = session
        self._limit = limit
        self._events: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._cause: CdpFailure | None = None

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        """Return the next event, waiting for it.

        Raises:
            CdpFailure: why no more will come, once the events before it are read.
        """
        while not self._events:
            if self._cause is not None:
                raise self._cause
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()

    def close(self) -> None:
        """Receive no more events."""
        self._connection._unsubscribe(self)

    def _offer(self, event: Event) -> None:
        if event.method not in self._methods or self._cause is not None:
            return
        if len(self._events) >= self._limit:
            self._events.clear()
            self._end(SubscriberLagged(f"{self._limit} events waited; {event.method} found no room"))
            return
        self._events.append(event)
        self._arrived.set()

    def _end(self, cause: CdpFailure) -> None:
        self._cause = self._cause or cause
        self._arrived.set()


class _Pending(NamedTuple):
    future: asyncio.Future[msgspec.Raw]
    session: str


class Connection:
    """Commands and events over one pipe; feed() takes what Chromium writes."""

    def __init__(self, writer: Writable, message_limit: int = MESSAGE_LIMIT) -> None:
        self._writer = writer
        self._limit = message_limit
        self._splitter = Splitter(message_limit)
        self._decoder = msgspec.json.Decoder(Message)
        self._encoder = msgspec.json.Encoder()
        self._pending: dict[int, _Pending] = {}
        self._subscriptions: dict[str, list[Subscription]] = {}
        self._receivers: dict[str, Receiver] = {}
        self._forwarded: dict[int, Receiver] = {}
        self._last_id = 0
        self._closed: ConnectionClosed | None = None

    @property
    def is_closed(self) -> bool:
        """Whether Chromium is gone, or we have closed the pipe."""
        return self._closed is not None

    async def send(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        session: str = "",
        timeout: float = COMMAND_SECONDS,
    ) -> msgspec.Raw:
        """Send a command and return its undecoded result; timeout is in seconds.

        Raises:
            CdpFailure: one of its kinds, see errors.
        """
        number = self._write(method, params or {}, session)
        future: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._pending[number] = _Pending(future, session)
        try:
            return await asyncio.wait_for(future, max(timeout, 0))
        except TimeoutError as error:
            raise CommandTimeout(method, timeout) from error
        finally:
            self._pending.pop(number, None)

    async def call(
        self,
        returns: type[T],
        method: str,
        params: dict[str, Any] | None = None,
        *,
        session: str = "",
        timeout: float = COMMAND_SECONDS,
    ) -> T:
        """Like send, with the result decoded to the given type."""
        return msgspec.json.decode(await self.send(method, params, session=session, timeout=timeout), type=returns)

    def _write(self, method: str, params: object, session: str) -> int:
        if self._closed is not None:
            raise self._closed
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self._writer.write(self._encoder.encode(message) + b"\0")
        return self._last_id

    def post(self, method: str, params: dict[str, Any], session: str) -> None:
        """Send a command ahead of all that is sent after it; nobody hears its answer.

        Raises:
            ConnectionClosed: Chromium is gone.
        """
        self._write(method, params, session)

    def hand_over(self, session: str, receiver: Receiver) -> None:
        """Give a session's events to a receiver from now on."""
        self._receivers[session] = receiver

    def take_back(self, session: str) -> None:
        """Give a session's events to nobody any longer."""
        self._receivers.pop(session, None)

    def forward(self, receiver: Receiver, method: str, params: msgspec.Raw, session: str) -> int:
        """Send a receiver's command, which may take for ever; return the number that its answer will have.

        Raises:
            ConnectionClosed: Chromium is gone.
        """
        number = self._write(method, params, session)
        self._forwarded[number] = receiver
        return number

    def forget(self, numbers: Iterable[int]) -> None:
        """Await no answer to forwarded commands any longer."""
        for number in numbers:
            self._forwarded.pop(number, None)

    def subscribe(self, methods: Iterable[str], session: str = "", limit: int = QUEUE_EVENTS) -> Subscription:
        """Return a subscription, active from now on, to these methods of a session ('' is the browser itself)."""
        subscription = Subscription(self, frozenset(methods), session, limit)
        if self._closed is not None:
            subscription._end(self._closed)
        self._subscriptions.setdefault(session, []).append(subscription)
        return subscription

    def _unsubscribe(self, subscription: Subscription) -> None:
        subscriptions = self._subscriptions.get(subscription.session, [])
        if subscription in subscriptions:
            subscriptions.remove(subscription)
        if not subscriptions:
            self._subscriptions.pop(subscription.session, None)

    def feed(self, data: bytes) -> None:
        """Route what arrived."""
        for message in self._splitter.feed(data):
            if isinstance(message, Oversize):
                self._drop(message)
            else:
                self._route(self._decoder.decode(message))

    def _route(self, message: Message) -> None:
        if message.id is not None:
            self._settle(message.id, message)
            return
        if (receiver := self._receivers.get(message.session_id)) is not None:
            receiver.event(message)
            return
        event = Event(message.method, message.params, message.session_id)
        for subscription in self._subscriptions.get(message.session_id, ()):
            subscription._offer(event)
        if message.method == "Inspector.targetCrashed":
            self._end_session(message.session_id, TargetClosed("the page's renderer crashed", crashed=True))
        elif message.method == "Target.detachedFromTarget":
            self._end_session(event.read(_Detached).session_id, TargetClosed("the page was closed"))

    def _settle(self, number: int, message: Message) -> None:
        if (receiver := self._forwarded.pop(number, None)) is not None:
            receiver.answer(number, message)
            return
        pending = self._pending.get(number)
        if pending is None or pending.future.done():
            return  # its deadline has passed
        if not bytes(message.error):
            pending.future.set_result(message.result)
            return
        refusal = msgspec.json.decode(message.error, type=_Refusal)
        if refusal.code == _SESSION_NOT_FOUND:
            pending.future.set_exception(TargetClosed(refusal.message))
        else:
            pending.future.set_exception(CdpError(refusal.code, refusal.message, str(refusal.data)))

    def _drop(self, message: Oversize) -> None:
        match = _ID.match(message.head)
        if match is None:
            return
        number, error = int(match.group(1)), MessageTooLarge(message.size, self._limit)
        if (receiver := self._forwarded.pop(number, None)) is not None:
            receiver.too_large(number, error)
        pending = self._pending.get(number)
        if pending is not None and not pending.future.done():
            pending.future.set_exception(error)

    def _end_session(self, session: str, cause: CdpFailure) -> None:
        for pending in self._pending.values():
            if pending.session == session and not pending.future.done():
                pending.future.set_exception(cause)
        for subscription in self._subscriptions.get(session, ()):
            subscription._end(cause)

    def closed(self, why: str) -> None:
        """Note that Chromium is gone: everything pending and every subscription fails with ConnectionClosed."""
        if self._closed is not None:
            return
        self._closed = ConnectionClosed(why)
        for session in {pending.session for pending in self._pending.values()} | set(self._subscriptions):
            self._end_session(session, self._closed)

    def close(self) -> None:
        """Close the command pipe, which makes Chromium exit."""
        self.closed("the agent closed the connection")
        self._writer.close()
