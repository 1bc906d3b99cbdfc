"""LISTs in pages: what is large is never in memory, nor decoded, as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from driftstack_common.kinds.meta import Kind

PAGE: Final = 500
"""Objects per page; 500 pods are 3 MB, and take 20 ms to decode."""
SMALL_PAGE: Final = 100
"""The same of deliveries, whose bodies can have 64 KiB each."""

Body = dict[str, Any]


async def pages(
    fetch: Callable[..., Awaitable[Body]],
    kind: Kind,
    namespace: str | None = None,
    *,
    limit: int = PAGE,
    **query: str | int,
) -> AsyncIterator[Body]:
    """Yield each page of a LIST; all are of one version.

    Args:
        fetch: `list_objects` or `list_metadata` of a KubeClient.

    Raises:
        KubeError: as fetch does; Expired when the server no longer has that version: begin again.
    """
    query["limit"] = limit
    while True:
        page = await fetch(kind, namespace, **query)
        yield page
        onward = page["metadata"].get("continue")
        if not onward:
            return
        query["continue"] = onward
