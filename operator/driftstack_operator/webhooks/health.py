"""Whether the dispatcher is well: what its probes answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from driftstack_common.kube.reflector import Reflector

STALE: Final = 10.0
"""Age of a copy, seconds, at which the dispatcher is not ready: it may not know what to send."""


class Health:
    """Collected from the copies.

    Args:
        copies: of endpoints and deliveries.
    """

    def __init__(self, copies: Sequence[Reflector[Any]]) -> None:
        self._copies = copies

    @property
    def primed(self) -> bool:
        """Whether everything was listed once."""
        return all(copy.synced for copy in self._copies)

    def stale(self) -> list[str]:
        """Return the kinds of which changes may be missing."""
        return [copy.name for copy in self._copies if copy.age > STALE]

    def problems(self) -> list[str]:
        """Return why the process should be restarted: an API server that is away is no reason."""
        return []
