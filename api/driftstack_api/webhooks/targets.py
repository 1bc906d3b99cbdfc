"""Whether a URL may be told of events, asked when it is registered; the dispatcher asks again at each delivery."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from driftstack_api.problems import Issue, Problem, invalid, unavailable
from driftstack_common.webhooks.targets import (
    Lookup,
    Rules,
    TargetRefused,
    TargetUnknown,
    check_target,
    look_up,
)

LOOKUP_SECONDS: Final = 5.0
"""How long a name may take to be resolved."""
_LATER: Final = "The name in `url` can't be resolved right now. Try again."


class Targets:
    """Judges URLs by the installation's rules; `lookup` resolves names."""

    def __init__(self, rules: Rules, lookup: Lookup = look_up) -> None:
        self._rules = rules
        self._lookup = lookup

    async def check(self, url: str) -> None:
        """Let a URL through whose addresses are all allowed.

        Raises:
            Problem: validation-failed, or feature-unavailable when its name can't be resolved now.
        """
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                await check_target(url, self._rules, self._lookup)
        except TargetRefused as error:
            raise _wrong(error) from error
        except TargetUnknown as error:
            raise _unresolved(error) from error
        except TimeoutError as error:
            raise unavailable(_LATER) from error


def _wrong(error: TargetRefused | TargetUnknown) -> Problem:
    return invalid([Issue("url", str(error))])


def _unresolved(error: TargetUnknown) -> Problem:
    """Tell a name that there is not from a resolver that is away."""
    cause = error.__cause__
    away = isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN
    return unavailable(_LATER) if away else _wrong(error)
