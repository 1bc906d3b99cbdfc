"""The agent's scripts in a page whose documents come and go, as Chromium's answers tell it."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from driftstack_agent.browser import Target
from driftstack_agent.deadline import Deadline
from driftstack_agent.errors import CdpError, CommandTimeout, ScriptError
from driftstack_agent.world import World, source

MOVED = CdpError(-32000, "Cannot find context with specified id")


class Documents:
    """A page that shows one document after another; `answers` are what calls get, MOVED with the next document."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.context = 1
        self.sent: list[tuple[str, int]] = []

    def post(self, method: str, params: dict[str, Any]) -> None:
        """Take our source."""
        assert (method, params["expression"]) == ("Runtime.evaluate", f"{source()};0")
        self.sent.append(("source", params["contextId"]))

    async def call(self, returns: type[Any], method: str, params: dict[str, Any], timeout: float) -> Any:
        """Make a world, or answer a call."""
        if timeout <= 0:
            raise CommandTimeout(method, timeout)
        if method == "Page.createIsolatedWorld":
            self.sent.append(("world", self.context))
            return returns(self.context)
        self.sent.append((params["expression"], params["contextId"]))
        answer = self.answers.pop(0)
        if isinstance(answer, CdpError):
            self.context += 1
            raise answer
        return msgspec.json.decode(answer, type=returns)


def answer(**outcome: Any) -> bytes:
    return msgspec.json.encode({"result": {"value": outcome}})


async def ask(documents: Documents, world: World | None = None, **more: Any) -> bool:
    made = world or World(cast("Target", documents), "frame")
    return await made.call(bool, "isShown", {"selector": "a"}, Deadline(1000), **more)


CALL = 'driftstack("isShown",{"selector":"a"})'


async def test_a_document_is_given_our_source_once_and_in_one_breath_with_the_call() -> None:
    documents = Documents(answer(value=True), answer(value=False))
    world = World(cast("Target", documents), "frame")
    assert (await ask(documents, world), await ask(documents, world)) == (True, False)
    assert documents.sent == [("world", 1), ("source", 1), (CALL, 1), (CALL, 1)]


async def test_a_call_is_made_again_in_the_next_document() -> None:
    documents = Documents(MOVED, answer(value=True))
    assert await ask(documents)
    assert documents.sent == [("world", 1), ("source", 1), (CALL, 1), ("world", 2), ("source", 2), (CALL, 2)]


async def test_a_page_that_moves_all_the_time_ends_with_the_deadline() -> None:
    documents = Documents(*[MOVED] * 1000)
    with pytest.raises(CommandTimeout):
        await World(cast("Target", documents), "frame").call(bool, "isShown", {}, Deadline(30))


async def test_what_our_script_throws_is_told() -> None:
    with pytest.raises(ScriptError) as caught:
        await ask(Documents(answer(error={"kind": "SyntaxError", "message": "no"})))
    assert caught.value.kind == "SyntaxError"
    with pytest.raises(ScriptError, match=r"stopped after 0\.5 s"):
        await ask(Documents(CdpError(-32603, "Internal error")), seconds=0.5)
