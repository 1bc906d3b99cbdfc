"""What the page's main frame has loaded, from Chromium's events: pure, no waiting.

A document is known by its loader id, which is also the id of its request. Between the request and the end of a
load the page itself may start another (a client-side redirect), so all is kept per loader.
"""

from __future__ import annotations

from typing import Final

import msgspec

from driftstack_agent.cdp import Event
from driftstack_common.protocol import WaitUntil

QUIET_SECONDS: Final = 0.5
"""networkidle: the document is loaded and no request was in flight for this long."""
_LOADERS: Final = 8
"""Loaders remembered; older ones have no one waiting."""
# An event stream is open for as long as the page wants, like a WebSocket, which has no such request at all.
_ENDLESS: Final = "EventSource"

EVENTS: Final = (
    "Page.frameNavigated",
    "Page.navigatedWithinDocument",
    "Page.lifecycleEvent",
    "Network.requestWillBeSent",
    "Network.responseReceived",
    "Network.loadingFinished",
    "Network.loadingFailed",
)


class _Struct(msgspec.Struct, rename="camel"):
    """Base of the parts of CDP's events that are read."""


class _Frame(_Struct):
    id: str
    loader_id: str
    url: str
    parent_id: str | None = None
    url_fragment: str = ""
    unreachable_url: str = ""


class _FrameNavigated(_Struct):
    frame: _Frame


class _WithinDocument(_Struct):
    frame_id: str
    url: str


class _Lifecycle(_Struct):
    frame_id: str
    loader_id: str
    name: str


class _Request(_Struct):
    request_id: str
    loader_id: str
    type: str = ""


class _Response(_Struct):
    status: int


class _ResponseReceived(_Struct):
    request_id: str
    loader_id: str
    response: _Response
    frame_id: str = ""


class _Finished(_Struct):
    request_id: str
    error_text: str = ""


class Document(msgspec.Struct):
    """One document of the main frame.

    Attributes:
        status: HTTP status of its response; None before there is one, or when it needs none (about:blank).
        committed: it is, or was, what the page shows.
        failure: Chromium's text when what the page shows is Chromium's own error page.
    """

    status: int | None = None
    milestones: set[str] = msgspec.field(default_factory=set)
    committed: bool = False
    failure: str = ""


class MainFrame:
    """The main frame's documents and the page's requests in flight; apply() takes the events in order.

    Attributes:
        url: what the page shows, with its fragment.
        moves: how often the URL changed without a new document.
    """

    def __init__(self, frame: str, url: str = "about:blank", loader: str = "") -> None:
        self.frame = frame
        self.url = url
        self.loader = loader
        self.moves = 0
        self._documents: dict[str, Document] = {loader: Document(committed=True)}
        self._errors: dict[str, str] = {}
        self._in_flight: dict[str, str] = {}
        self._quiet_since: float | None = None

    @property
    def document(self) -> Document:
        """What the page shows."""
        return self.of(self.loader)

    def of(self, loader: str) -> Document:
        """Return a document by its loader id; unknown ones are new and empty."""
        document = self._documents.get(loader)
        if document is None:
            document = self._documents[loader] = Document()
            for old in list(self._documents)[:-_LOADERS]:
                if old != self.loader:
                    del self._documents[old]
        return document

    @property
    def status(self) -> int:
        """HTTP status of the shown document; 200 where there was no HTTP (about:blank)."""
        return self.document.status or 200

    def reached(self, wait_until: WaitUntil, now: float) -> bool:
        """Whether the shown document is as far as asked."""
        if wait_until == "domcontentloaded":
            return "DOMContentLoaded" in self.document.milestones
        loaded = "load" in self.document.milestones
        return loaded and (wait_until == "load" or self.quiet_in(now) <= 0)

    def quiet_in(self, now: float) -> float:
        """Return the seconds until the network counts as idle, infinite while a request is in flight."""
        if self._in_flight:
            return float("inf")
        since = self._quiet_since if self._quiet_since is not None else now
        return since + QUIET_SECONDS - now

    def apply(self, event: Event, now: float) -> None:
        """Take one of EVENTS; now is a monotonic time in seconds."""
        match event.method:
            case "Page.frameNavigated":
                self._committed(event.read(_FrameNavigated).frame, now)
            case "Page.navigatedWithinDocument":
                moved = event.read(_WithinDocument)
                if moved.frame_id == self.frame:
                    self.url, self.moves = moved.url, self.moves + 1
            case "Page.lifecycleEvent":
                stage = event.read(_Lifecycle)
                if stage.frame_id == self.frame and stage.name in ("DOMContentLoaded", "load"):
                    self.of(stage.loader_id).milestones.add(stage.name)
                    self._quiet_since = now if stage.name == "load" else self._quiet_since
            case "Network.requestWillBeSent":
                request = event.read(_Request)
                if request.type != _ENDLESS:
                    self._in_flight[request.request_id] = request.loader_id
            case "Network.responseReceived":
                self._responded(event.read(_ResponseReceived))
            case "Network.loadingFinished" | "Network.loadingFailed":
                self._finished(event.read(_Finished), now)

    def _committed(self, frame: _Frame, now: float) -> None:
        if frame.parent_id is not None or frame.id != self.frame:
            return
        self.loader = frame.loader_id
        self.url = frame.unreachable_url or frame.url + frame.url_fragment
        document = self.of(frame.loader_id)
        document.committed = True
        if frame.unreachable_url:
            document.failure = self._errors.get(frame.loader_id, "net::ERR_FAILED")
        # Requests of the document before are dead, and Chromium doesn't always say so.
        self._in_flight = {key: loader for key, loader in self._in_flight.items() if loader == frame.loader_id}
        self._quiet_since = now

    def _responded(self, received: _ResponseReceived) -> None:
        if received.request_id == received.loader_id and received.frame_id == self.frame:
            self.of(received.loader_id).status = received.response.status

    def _finished(self, finished: _Finished, now: float) -> None:
        loader = self._in_flight.pop(finished.request_id, None)
        if loader is not None and not self._in_flight:
            self._quiet_since = now
        if finished.error_text and loader == finished.request_id:
            self._errors = {finished.request_id: finished.error_text}
