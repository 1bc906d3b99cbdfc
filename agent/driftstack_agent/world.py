"""The agent's own JavaScript in a page: in_page.js, in an isolated world of the page's main frame.

A world lasts as long as its document. A page may replace that at any moment, also in the middle of a call: then the
call is made again in the new document, until the deadline.
"""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from driftstack_agent.browser import Target
from driftstack_agent.deadline import Deadline
from driftstack_agent.errors import CdpError, ScriptError

_NAME: Final = "driftstack"
_MOVED: Final = (
    "Cannot find context with specified id",
    "Execution context was destroyed.",
    "Inspected target navigated or closed",
    "No frame for given id found",
    "Not attached to an active page",
    "Promise was collected",
    "uniqueContextId not found",
)
"""Chromium's words for: the document that was asked is no longer there."""
_PAUSE_SECONDS: Final = 0.005
_INTERNAL: Final = -32603

T = TypeVar("T")


class _World(msgspec.Struct, rename="camel"):
    execution_context_id: int


class _Remote(msgspec.Struct):
    value: msgspec.Raw = msgspec.Raw(b"{}")


class _Thrown(msgspec.Struct):
    text: str = ""


class _Evaluated(msgspec.Struct, rename="camel"):
    result: _Remote
    exception_details: _Thrown | None = None


class _Failure(msgspec.Struct):
    kind: str
    message: str
    index: int | None = None
    size: int | None = None


class _Outcome(msgspec.Struct):
    value: msgspec.Raw = msgspec.Raw(b"null")
    error: _Failure | None = None


@cache
def source() -> str:
    """Return in_page.js."""
    return Path(__file__).with_name("in_page.js").read_text()


class World:
    """The isolated world of one page."""

    def __init__(self, target: Target, frame: str) -> None:
        self._target = target
        self._frame = frame
        self._context: int | None = None

    async def call(
        self, returns: type[T], function: str, argument: dict[str, Any], deadline: Deadline, seconds: float = 0
    ) -> T:
        """Call a function of in_page.js and return what it returns.

        Args:
            seconds: how long it may run before it is stopped; 0 sets no limit of its own.

        Raises:
            ScriptError: it threw, or was stopped.
            CdpFailure: CommandTimeout at the deadline; the page or Chromium is gone.
        """
        while True:
            try:
                context = await self._find(deadline)
                outcome = await self._evaluate(context, _expression(function, argument), deadline, seconds)
            except CdpError as error:
                if seconds and error.code == _INTERNAL:  # how Chromium says that it stopped a script
                    raise ScriptError(f"stopped after {seconds:g} s") from error
                if error.message not in _MOVED:
                    raise
            else:
                return msgspec.json.decode(outcome, type=returns)
            self._context = None
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _find(self, deadline: Deadline) -> int:
        if self._context is None:
            frame = {"frameId": self._frame, "worldName": _NAME}
            made = await self._target.call(_World, "Page.createIsolatedWorld", frame, timeout=deadline.left)
            script = {"expression": f"{source()};0", "contextId": made.execution_context_id}
            # In one breath with the call that follows: a document may be gone in no time.
            self._target.post("Runtime.evaluate", script)
            self._context = made.execution_context_id
        return self._context

    async def _evaluate(self, context: int, expression: str, deadline: Deadline, seconds: float) -> msgspec.Raw:
        params: dict[str, Any] = {
            "expression": expression,
            "contextId": context,
            "awaitPromise": True,
            "returnByValue": True,
        }
        if seconds:
            params["timeout"] = seconds * 1000
        done = await self._target.call(_Evaluated, "Runtime.evaluate", params, timeout=deadline.left)
        if done.exception_details is not None:
            raise ScriptError(done.exception_details.text)
        outcome = msgspec.json.decode(done.result.value, type=_Outcome)
        if outcome.error is not None:
            raise ScriptError(outcome.error.message, outcome.error.kind, outcome.error.index, outcome.error.size)
        return outcome.value


def _expression(function: str, argument: dict[str, Any]) -> str:
    # JSON is JavaScript; what is in it can't end the literal.
    return f'driftstack("{function}",{msgspec.json.encode(argument).decode()})'
