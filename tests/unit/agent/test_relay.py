"""What a DevTools client reaches, and what it hears; Chromium is played."""

from __future__ import annotations

import json
from typing import Any

import pytest

from driftstack_agent import relay as relay_module
from driftstack_agent.cdp import Connection
from driftstack_agent.relay import BUSY, Relay


class Played:
    """A pipe with clients on it; `sent` is what Chromium is told."""

    def __init__(self, message_limit: int = 10_000) -> None:
        self.sent: list[dict[str, Any]] = []
        self.connection = Connection(self, message_limit)
        self.seen: list[tuple[str, str]] = []

    def write(self, data: bytes) -> None:
        assert data.count(b"\0") == 1
        self.sent.append(json.loads(data[:-1]))

    def close(self) -> None:
        """Nothing to close."""

    def say(self, **message: Any) -> None:
        self.connection.feed(json.dumps(message, separators=(",", ":")).encode() + b"\0")

    def attach(self, parent: str, child: str, target: str) -> None:
        info = {"targetId": target, "type": "page", "title": "", "url": ""}
        params = {"sessionId": child, "targetInfo": info, "waitingForDebugger": False}
        self.say(method="Target.attachedToTarget", params=params, sessionId=parent)


class PlayedClient:
    def __init__(self, played: Played, root: str) -> None:
        self.heard: list[dict[str, Any]] = []
        self.relay = Relay(
            played.connection,
            root,
            lambda text: self.heard.append(json.loads(text)),
            lambda target, method: played.seen.append((target, method)),
        )

    def says(self, **message: Any) -> bool:
        return self.relay.command(json.dumps(message).encode())


@pytest.fixture
def played() -> Played:
    return Played()


@pytest.fixture
def client(played: Played) -> PlayedClient:
    return PlayedClient(played, "root")


def test_ids_are_the_clients_and_its_session_has_no_name(played: Played, client: PlayedClient) -> None:
    assert client.says(id=7, method="Browser.getVersion")
    assert client.says(id=7, method="Target.getTargets", params={"filter": [{"type": "page"}]})
    assert played.sent == [
        {"id": 1, "method": "Browser.getVersion", "params": {}, "sessionId": "root"},
        {"id": 2, "method": "Target.getTargets", "params": {"filter": [{"type": "page"}]}, "sessionId": "root"},
    ]
    played.say(id=2, sessionId="root", error={"code": 1, "message": "no"})
    played.say(id=1, sessionId="root", result={"product": "é"})
    played.say(method="Target.targetCreated", sessionId="root", params={"a": [1, {}]})
    assert client.heard == [
        {"id": 7, "error": {"code": 1, "message": "no"}},
        {"id": 7, "result": {"product": "é"}},
        {"method": "Target.targetCreated", "params": {"a": [1, {}]}},
    ]


def test_attached_sessions_are_the_clients_as_deep_as_they_go(played: Played, client: PlayedClient) -> None:
    played.attach("root", "page", "P")
    played.attach("page", "frame", "F")
    assert client.says(id=1, method="DOM.enable", sessionId="frame")
    assert played.sent[-1]["sessionId"] == "frame"
    assert played.seen[-1] == ("F", "DOM.enable")
    played.say(id=1, sessionId="frame", result={})
    assert [heard.get("sessionId") for heard in client.heard] == [None, "page", "frame"]

    played.say(method="Target.detachedFromTarget", sessionId="root", params={"sessionId": "page"})
    count = len(played.sent)
    for gone in ("page", "frame"):
        assert client.says(id=2, method="DOM.enable", sessionId=gone)
        refusal = {"code": -32001, "message": "Session with given id not found."}
        assert client.heard[-1] == {"id": 2, "error": refusal, "sessionId": gone}
    played.say(method="DOM.documentUpdated", sessionId="frame", params={})
    assert len(played.sent) == count
    assert client.heard[-1]["error"]["code"] == -32001


@pytest.mark.parametrize("session", ["others", "others-page", "agents-page", "nobodys"])
def test_no_session_of_others_is_reached_or_heard(played: Played, client: PlayedClient, session: str) -> None:
    other = PlayedClient(played, "others")
    played.attach("others", "others-page", "P")
    played.attach("", "agents-page", "P")
    assert client.says(id=1, method="Runtime.evaluate", sessionId=session)
    assert client.heard.pop()["error"]["code"] == -32001
    assert played.sent == []
    played.say(method="Page.loadEventFired", params={}, sessionId=session)
    played.say(method="Target.targetCreated", params={})
    assert client.heard == []
    assert len(other.heard) == 1 + session.startswith("others")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"id":1}',
        b'{"id":"1","method":"A.a"}',
        b'{"id":1,"method":"A.a","sessionId":7}',
        b'{"id":1,"method":"A.a"}{"id":2,"method":"A.a"}',
        b'{"id":1,"method":"A.a","params":{"x":"\0"}}',
        b'{"id":1,"method":"A.a"}\0{"id":2,"method":"A.a","sessionId":"agents-page"}',
        b'{"id":1,"method":"A.a","params":{"x":1}},"sessionId":"agents-page","y":{"z":1}}',
        b'{"id":1,"method":"\xff"}',
    ],
)
def test_what_is_no_command_never_reaches_the_pipe(played: Played, client: PlayedClient, text: bytes) -> None:
    assert client.relay.command(text)
    assert client.heard[0]["error"]["code"] == -32600
    assert played.sent == []


def test_the_last_of_two_sessions_in_a_command_counts(played: Played, client: PlayedClient) -> None:
    played.attach("", "agents-page", "P")
    client.relay.command(b'{"id":1,"method":"A.a","sessionId":"agents-page","sessionId":""}')
    client.relay.command(b'{"id":1,"method":"A.a","sessionId":"","sessionId":"agents-page"}')
    assert [sent["sessionId"] for sent in played.sent] == ["root"]


def test_closing_the_browser_is_answered_and_goes_nowhere(played: Played, client: PlayedClient) -> None:
    assert not client.says(id=1, method="Browser.close")
    assert client.heard == [{"id": 1, "result": {}}]
    assert played.sent == []


def test_an_answer_over_the_limit_is_an_error(client: PlayedClient, played: Played) -> None:
    client.says(id=5, method="A.a")
    played.say(id=1, sessionId="root", result={"data": "x" * 10_000})
    assert client.heard[0]["id"] == 5
    assert "over the limit" in client.heard[0]["error"]["message"]


def test_unanswered_commands_are_bounded(
    played: Played, client: PlayedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "IN_FLIGHT", BUSY + 1)
    for number in range(BUSY + 2):
        assert client.relay.busy == (number > BUSY)
        client.says(id=number, method="A.a")
    assert len(played.sent) == BUSY + 1
    assert client.heard[0]["error"]["code"] == -32000
    played.say(id=1, sessionId="root", result={})
    assert client.says(id=0, method="A.a")
    assert len(played.sent) == BUSY + 2


def test_a_closed_relay_hears_nothing(played: Played, client: PlayedClient) -> None:
    played.attach("root", "page", "P")
    client.says(id=1, method="A.a")
    client.says(id=2, method="A.a", sessionId="page")
    client.relay.close()
    client.heard.clear()
    played.say(id=1, sessionId="root", result={})
    played.say(id=2, sessionId="page", result={})
    played.say(method="A.b", sessionId="page", params={})
    assert client.heard == []
    assert not client.relay.busy


def test_who_enables_a_page_hears_its_dialogs(played: Played, client: PlayedClient) -> None:
    played.attach("root", "page", "P")
    assert not client.relay.hears_dialogs("P")
    client.says(id=1, method="Page.enable", sessionId="page")
    assert client.relay.hears_dialogs("P")
    assert not client.relay.hears_dialogs("Q")
    client.says(id=2, method="Page.disable", sessionId="page")
    assert not client.relay.hears_dialogs("P")


def test_sessions_may_be_nested_as_deep_as_one_likes(played: Played, client: PlayedClient) -> None:
    parent = "root"
    for depth in range(3000):
        played.attach(parent, f"s{depth}", "browser")
        parent = f"s{depth}"
    played.say(method="Target.detachedFromTarget", sessionId="root", params={"sessionId": "s0"})
    client.says(id=1, method="A.a", sessionId=parent)
    assert client.heard[-1]["error"]["code"] == -32001
