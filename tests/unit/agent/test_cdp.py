from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from driftstack_agent.cdp import Connection
from driftstack_agent.errors import (
    CdpError,
    CommandTimeout,
    ConnectionClosed,
    MessageTooLarge,
    SubscriberLagged,
    TargetClosed,
)


class Pipe:
    """Keeps what is written; `answer` plays Chromium."""

    def __init__(self, message_limit: int = 10_000) -> None:
        self.sent: list[dict[str, Any]] = []
        self.closed = False
        self.connection = Connection(self, message_limit)

    def write(self, data: bytes) -> None:
        assert data.endswith(b"\0")
        self.sent.append(json.loads(data[:-1]))

    def close(self) -> None:
        self.closed = True

    def feed(self, **message: Any) -> None:
        self.connection.feed(json.dumps(message, separators=(",", ":")).encode() + b"\0")

    async def begin(self, method: str, **options: Any) -> asyncio.Task[msgspec.Raw]:
        """Send a command and return its task once it is on the pipe."""
        count = len(self.sent)
        task = asyncio.create_task(self.connection.send(method, **options))
        await asyncio.sleep(0)  # the task's first turn writes
        assert len(self.sent) == count + 1
        return task


class Size(msgspec.Struct):
    width: int


async def test_answers_find_their_command_in_any_order() -> None:
    pipe = Pipe()
    first, second = await pipe.begin("A.a", params={"x": 1}), await pipe.begin("B.b", session="S")
    assert pipe.sent == [
        {"id": 1, "method": "A.a", "params": {"x": 1}},
        {"id": 2, "method": "B.b", "params": {}, "sessionId": "S"},
    ]
    pipe.feed(id=2, sessionId="S", result={"two": 2})
    pipe.feed(id=1, result={"one": 1})
    assert (bytes(await first), bytes(await second)) == (b'{"one":1}', b'{"two":2}')


async def test_call_decodes_the_result() -> None:
    pipe = Pipe()
    task = asyncio.create_task(pipe.connection.call(Size, "Page.size"))
    await asyncio.sleep(0)
    pipe.feed(id=1, result={"width": 7, "height": 8})
    assert (await task).width == 7


async def test_a_refusal_carries_code_message_and_data() -> None:
    pipe = Pipe()
    task = await pipe.begin("A.a")
    pipe.feed(id=1, error={"code": -32602, "message": "Invalid parameters", "data": "url: string expected"})
    with pytest.raises(CdpError) as caught:
        await task
    error = caught.value
    assert (error.code, error.message, error.data) == (-32602, "Invalid parameters", "url: string expected")


async def test_no_answer_is_a_timeout_and_a_late_one_is_dropped() -> None:
    pipe = Pipe()
    with pytest.raises(CommandTimeout) as caught:
        await pipe.connection.send("A.a", timeout=0.01)
    assert caught.value.method == "A.a"
    pipe.feed(id=1, result={})
    again = await pipe.begin("A.a")
    pipe.feed(id=2, result={})
    assert bytes(await again) == b"{}"


async def test_an_unknown_session_is_a_closed_target() -> None:
    pipe = Pipe()
    task = await pipe.begin("A.a", session="gone")
    pipe.feed(id=1, error={"code": -32001, "message": "Session with given id not found."})
    with pytest.raises(TargetClosed):
        await task


@pytest.mark.parametrize(
    "event",
    [
        {"method": "Inspector.targetCrashed", "params": {}, "sessionId": "S"},
        {"method": "Target.detachedFromTarget", "params": {"sessionId": "S", "targetId": "T"}},
    ],
)
async def test_a_lost_page_fails_its_commands_and_no_others(event: dict[str, Any]) -> None:
    pipe = Pipe()
    lost, other = await pipe.begin("A.a", session="S"), await pipe.begin("A.a", session="T")
    events = pipe.connection.subscribe(["Page.loaded"], "S")
    pipe.feed(method="Page.loaded", params={}, sessionId="S")
    pipe.feed(**event)
    with pytest.raises(TargetClosed):
        await lost
    assert (await anext(events)).method == "Page.loaded"  # what came before is not lost
    with pytest.raises(TargetClosed):
        await anext(events)
    pipe.feed(id=2, sessionId="T", result={})
    assert bytes(await other) == b"{}"


async def test_chromiums_end_fails_everything_pending_and_to_come() -> None:
    pipe = Pipe()
    task = await pipe.begin("A.a", session="S")
    events = pipe.connection.subscribe(["X.x"])
    pipe.connection.closed("it exited")
    for waiting in (task, anext(events), pipe.connection.send("B.b"), anext(pipe.connection.subscribe(["X.x"]))):
        with pytest.raises(ConnectionClosed, match="it exited"):
            await waiting


async def test_close_closes_the_pipe() -> None:
    pipe = Pipe()
    pipe.connection.close()
    assert pipe.closed
    assert pipe.connection.is_closed


async def test_events_go_to_every_subscriber_of_their_session_and_method() -> None:
    pipe = Pipe()
    one, two = (pipe.connection.subscribe(["Page.a", "Page.b"], "S") for _ in range(2))
    other = pipe.connection.subscribe(["Page.a"], "T")
    pipe.feed(method="Page.c", params={}, sessionId="S")
    pipe.feed(method="Page.a", params={"width": 1}, sessionId="S")
    pipe.feed(method="Page.b", params={}, sessionId="S")
    pipe.feed(method="Page.a", params={"width": 9}, sessionId="T")
    for subscription in (one, two):
        assert (await anext(subscription)).read(Size).width == 1
        assert (await anext(subscription)).method == "Page.b"
    assert (await anext(other)).read(Size).width == 9


async def test_a_subscription_made_first_misses_nothing() -> None:
    pipe = Pipe()
    with pipe.connection.subscribe(["Page.a"]) as events:
        pipe.feed(method="Page.a", params={})
        assert (await anext(events)).method == "Page.a"
    pipe.feed(method="Page.a", params={})
    assert pipe.connection._subscriptions == {}


async def test_a_full_queue_ends_its_subscription_and_no_other() -> None:
    pipe = Pipe()
    slow = pipe.connection.subscribe(["Page.a"], limit=3)
    quick = pipe.connection.subscribe(["Page.a"])
    for _ in range(5):
        pipe.feed(method="Page.a", params={})
    with pytest.raises(SubscriberLagged):
        await anext(slow)
    for _ in range(5):
        await anext(quick)


async def test_an_answer_over_the_limit_fails_its_command_with_the_size() -> None:
    pipe = Pipe(message_limit=100)
    task = await pipe.begin("A.a")
    pipe.feed(id=1, result={"data": "x" * 500})
    with pytest.raises(MessageTooLarge) as caught:
        await task
    assert caught.value.size > 500


async def test_a_cancelled_command_leaves_nothing_behind() -> None:
    pipe = Pipe()
    task = await pipe.begin("A.a")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert pipe.connection._pending == {}
    pipe.feed(id=1, result={})
