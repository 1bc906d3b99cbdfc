"""What stands before everything that a client changes in the world: one can refuse it, or see it pass."""

from __future__ import annotations

from typing import Protocol


class Guard(Protocol):
    """Stands before every write, named as in `create-pods`, `patch-browsersessions-status`, `claim` or `step`."""

    def before(self, write: str) -> None:
        """Called right before a write is sent; what it raises is raised instead (a KubeError)."""

    def after(self, write: str) -> None:
        """Called when a write was accepted."""


class Guards:
    """Several guards as one; the first is asked first."""

    def __init__(self, *guards: Guard) -> None:
        self._guards = guards

    def before(self, write: str) -> None:
        """Ask each; the first that refuses has the last word."""
        for guard in self._guards:
            guard.before(write)

    def after(self, write: str) -> None:
        """Tell each."""
        for guard in self._guards:
            guard.after(write)
