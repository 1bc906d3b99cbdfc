"""What can go wrong, each with the thing to do about it.

ClusterError
  CommandFailed        a program we called ended with an error
  NotReady             something did not answer in time
  Precondition         the machine lacks something (root, disk, Go, a package, an address range)
  Busy                 somebody else holds the node
"""

from __future__ import annotations


class ClusterError(Exception):
    """An error for the person at the terminal: what happened, and what to do.

    Args:
        message: one or more lines that say what happened.
        hint: what to do about it; shown under the message.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class CommandFailed(ClusterError):
    """A program ended with a non-zero code."""

    def __init__(self, program: str, code: int, output: str, hint: str = "") -> None:
        tail = "\n".join(output.strip().splitlines()[-12:])
        super().__init__(f"{program} ended with {code}\n{tail}".rstrip(), hint)
        self.code = code
        self.output = output


class NotReady(ClusterError):
    """A component did not become ready before its deadline."""


class Precondition(ClusterError):
    """The machine lacks something the cluster needs."""


class Busy(ClusterError):
    """Another process or another checkout owns the node."""
