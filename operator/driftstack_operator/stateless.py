"""What keeps kopf from remembering objects: it would copy the whole body with every event, to compare it.

Nobody here asks kopf for a difference or for the progress of a handler: all handlers are `on.event`.
"""

from __future__ import annotations

from typing import Any

import kopf


class NoDifferences(kopf.DiffBaseStorage):
    """Calls all versions of an object the same."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return what kopf compares: nothing."""
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> None:
        """Return what the object was like when it was last handled: never."""

    def store(self, **_: Any) -> None:
        """Store nothing."""


class NoProgress(kopf.ProgressStorage):
    """Knows of no handler that has begun."""

    def fetch(self, **_: Any) -> None:
        """Return how far a handler is: nowhere."""

    def store(self, **_: Any) -> None:
        """Store nothing."""

    def purge(self, **_: Any) -> None:
        """Remove nothing."""

    def touch(self, **_: Any) -> None:
        """Touch nothing."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """Return what kopf compares without our traces, of which there are none."""
        return essence
