"""How a finalizer is dropped: this one of this very object, and nothing that somebody else has changed. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from driftstack_common.kube.client import Body


def dropping(finalizer: str, *, uid: str, finalizers: Sequence[str]) -> list[Body]:
    """Return the JSON patch; the API server calls it Invalid when the finalizers have changed meanwhile.

    Raises:
        ValueError: it is not among them.
    """
    at = f"/metadata/finalizers/{finalizers.index(finalizer)}"
    return [
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "test", "path": at, "value": finalizer},
        {"op": "remove", "path": at},
    ]
