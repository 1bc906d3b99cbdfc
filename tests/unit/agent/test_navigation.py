from __future__ import annotations

from typing import Any

import msgspec
import pytest

from driftstack_agent.cdp import Event
from driftstack_agent.navigation import QUIET_SECONDS, MainFrame


class Player:
    """Feeds events to a frame at a time of its own."""

    def __init__(self) -> None:
        self.frame = MainFrame("F", "about:blank", "L0")
        self.now = 100.0

    def event(self, method: str, **params: Any) -> None:
        self.frame.apply(Event(method, msgspec.Raw(msgspec.json.encode(params)), "S"), self.now)

    def request(self, request: str, loader: str, kind: str = "Fetch") -> None:
        self.event("Network.requestWillBeSent", requestId=request, loaderId=loader, type=kind)

    def response(self, loader: str, status: int, frame: str = "F") -> None:
        response = {"status": status, "url": "http://a.test/"}
        self.event("Network.responseReceived", requestId=loader, loaderId=loader, frameId=frame, response=response)

    def commit(self, loader: str, url: str = "http://a.test/", frame: str = "F", **more: str) -> None:
        self.event("Page.frameNavigated", frame={"id": frame, "loaderId": loader, "url": url, **more})

    def stage(self, loader: str, name: str, frame: str = "F") -> None:
        self.event("Page.lifecycleEvent", frameId=frame, loaderId=loader, name=name, timestamp=1.0)


@pytest.fixture
def player() -> Player:
    return Player()


def test_a_page_load(player: Player) -> None:
    frame = player.frame
    player.request("L1", "L1", "Document")
    player.response("L1", 404)
    assert not frame.of("L1").committed
    player.commit("L1", urlFragment="#part")
    assert (frame.status, frame.url, frame.of("L1").committed) == (404, "http://a.test/#part", True)
    assert not frame.reached("domcontentloaded", player.now)
    player.stage("L1", "DOMContentLoaded")
    assert frame.reached("domcontentloaded", player.now)
    assert not frame.reached("load", player.now)
    player.stage("L1", "load")
    assert frame.reached("load", player.now)


def test_events_of_other_frames_and_documents_do_not_count(player: Player) -> None:
    player.commit("L1")
    player.commit("L9", "http://frame.test/", frame="G", parentId="F")
    player.stage("L9", "load", frame="G")
    player.response("L9", 500, frame="G")
    player.stage("L0", "load")
    assert not player.frame.reached("load", player.now)
    assert (player.frame.url, player.frame.status, player.frame.loader) == ("http://a.test/", 200, "L1")


def test_a_client_side_redirect_moves_the_wait_to_the_new_document(player: Player) -> None:
    player.response("L1", 200)
    player.commit("L1")
    player.response("L2", 201)
    player.commit("L2", "http://b.test/")
    player.stage("L1", "load")
    assert player.frame.of("L1").committed
    assert not player.frame.reached("load", player.now)
    player.stage("L2", "load")
    assert player.frame.reached("load", player.now)
    assert (player.frame.status, player.frame.url) == (201, "http://b.test/")


def test_idle_is_half_a_second_without_a_request(player: Player) -> None:
    player.request("L1", "L1", "Document")
    player.commit("L1")
    player.event("Network.loadingFinished", requestId="L1")
    player.stage("L1", "load")
    assert not player.frame.reached("networkidle", player.now)
    player.now += QUIET_SECONDS - 0.1
    player.request("R1", "L1")
    player.now += 10
    assert not player.frame.reached("networkidle", player.now)
    assert player.frame.quiet_in(player.now) == float("inf")
    player.event("Network.loadingFailed", requestId="R1", errorText="net::ERR_FAILED")
    assert player.frame.quiet_in(player.now) == pytest.approx(QUIET_SECONDS)
    player.now += QUIET_SECONDS
    assert player.frame.reached("networkidle", player.now)


def test_idle_needs_the_load_event(player: Player) -> None:
    player.commit("L1")
    player.now += 10
    assert not player.frame.reached("networkidle", player.now)


def test_an_event_stream_and_the_old_documents_requests_do_not_keep_it_busy(player: Player) -> None:
    player.request("old", "L0")
    player.request("L1", "L1", "Document")
    player.commit("L1")
    player.event("Network.loadingFinished", requestId="L1")
    player.request("stream", "L1", "EventSource")
    player.stage("L1", "load")
    player.now += QUIET_SECONDS
    assert player.frame.reached("networkidle", player.now)


def test_an_error_page_carries_chromiums_text(player: Player) -> None:
    player.request("L1", "L1", "Document")
    player.event("Network.loadingFailed", requestId="L1", errorText="net::ERR_CONNECTION_REFUSED")
    player.commit("L1", "chrome-error://chromewebdata/", unreachableUrl="http://dead.test/")
    assert player.frame.document.failure == "net::ERR_CONNECTION_REFUSED"
    assert player.frame.url == "http://dead.test/"


def test_a_fragment_moves_the_url_only(player: Player) -> None:
    player.response("L1", 404)
    player.commit("L1")
    player.event("Page.navigatedWithinDocument", frameId="F", url="http://a.test/#x", navigationType="fragment")
    player.event("Page.navigatedWithinDocument", frameId="G", url="http://g.test/#x", navigationType="fragment")
    assert (player.frame.url, player.frame.status, player.frame.moves) == ("http://a.test/#x", 404, 1)


def test_about_blank_is_200(player: Player) -> None:
    player.commit("L1", "about:blank")
    assert player.frame.status == 200


def test_memory_is_bounded_by_documents(player: Player) -> None:
    player.commit("L1")
    for number in range(1000):
        player.response(f"X{number}", 200)
    assert len(player.frame._documents) <= 10
    assert player.frame.of("L1").committed
