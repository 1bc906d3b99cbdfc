"""What commands fail with: a message, what to do about it, and an exit code that scripts may rely on.

CliError    everything that a user is told
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from driftstack_common.errors import DriftstackError


class ExitCode(IntEnum):
    """Why a command ended. Documented in docs/reference/cli.md; a code never changes its meaning."""

    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    LIMIT = 5
    TIMEOUT = 6
    CONFLICT = 7
    UNAVAILABLE = 8
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class CliError(DriftstackError):
    """The end of a command.

    Args:
        message: what happened, for people.
        code: what the process exits with.
        hint: what to do now.
        details: one line each, e.g. per wrong field.
        retry_after: seconds after which it may work; None when repeating it won't help.
    """

    def __init__(
        self,
        message: str,
        code: ExitCode = ExitCode.FAILED,
        *,
        hint: str = "",
        details: Sequence[str] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.details = details
        self.retry_after = retry_after
