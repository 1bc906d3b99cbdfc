"""The exceptions of the agent.

AgentError
 ├─ StartError          the agent can't serve; it ends with this reason
 ├─ StepError           what a caller is told: one ProblemCode of the protocol
 ├─ SocketClosed        a DevTools client's WebSocket is over, or has to be
 ├─ ScriptError         the agent's own JavaScript in a page threw, or was stopped
 └─ CdpFailure          a command to Chromium has no result
     ├─ CdpError            Chromium refused it
     ├─ CommandTimeout      no answer within the deadline
     ├─ MessageTooLarge     the answer is over the limit and was thrown away
     ├─ SubscriberLagged    events came faster than their reader took them
     ├─ TargetClosed        the page is gone, closed or crashed
     └─ ConnectionClosed    Chromium is gone
"""

from __future__ import annotations

from typing import Any

from driftstack_common.errors import DriftstackError
from driftstack_common.protocol import EndReason, Problem, ProblemCode
from driftstack_common.protocol_devtools import CloseCode


class AgentError(DriftstackError):
    """Base of the agent's exceptions."""


class StartError(AgentError):
    """The agent can't serve; reason and message go into the termination message."""

    def __init__(self, reason: EndReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class StepError(AgentError):
    """A call fails for a reason the caller is told."""

    def __init__(self, code: ProblemCode, message: str, **details: Any) -> None:
        super().__init__(message)
        self.problem = Problem(code=code, message=message, details=details)


class SocketClosed(AgentError):
    """A WebSocket is over: NORMAL by the client's own doing, else for what the code says."""

    def __init__(self, code: CloseCode, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ScriptError(AgentError):
    """The agent's JavaScript in a page threw.

    Attributes:
        kind: the JavaScript error's name, e.g. `SyntaxError` for a selector; empty when it was stopped.
        index: which of the extractions it was.
        size: for a RangeError of ours: how many characters were read when it was too much.
    """

    def __init__(self, message: str, kind: str = "", index: int | None = None, size: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.index = index
        self.size = size


class CdpFailure(AgentError):
    """Base: a command has no result."""


class CdpError(CdpFailure):
    """Chromium's answer to a command is an error; code, message and data as it sent them."""

    def __init__(self, code: int, message: str, data: str = "") -> None:
        super().__init__(f"{message} ({code})" + (f": {data}" if data else ""))
        self.code = code
        self.message = message
        self.data = data


class CommandTimeout(CdpFailure):
    """A command got no answer in time; it may still take effect."""

    def __init__(self, method: str, seconds: float) -> None:
        super().__init__(f"{method}: no answer in {seconds:.3g} s")
        self.method = method
        self.seconds = seconds


class MessageTooLarge(CdpFailure):
    """An answer over the message limit was thrown away; size is that of the whole message in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"an answer of {size} bytes is over the limit of {limit}")
        self.size = size
        self.limit = limit


class SubscriberLagged(CdpFailure):
    """A subscription's queue was full, so it ended instead of dropping events unseen."""


class TargetClosed(CdpFailure):
    """The page is gone: closed, or its renderer crashed."""

    def __init__(self, message: str, *, crashed: bool = False) -> None:
        super().__init__(message)
        self.crashed = crashed


class ConnectionClosed(CdpFailure):
    """The pipe to Chromium is closed: it exited, or the agent closed it."""
