"""Reads of the API server itself, for what no copy can tell: few at a time, and none for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import msgspec

from driftstack_api.metrics import DIRECT_LOOKS
from driftstack_common.kinds import Account, ApiKey, Record, Session, WebhookDelivery, WebhookEndpoint, from_body
from driftstack_common.kinds.meta import Resource
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import NotFound, Unreachable
from driftstack_common.kube.pages import pages
from driftstack_common.logging import get_logger

LOOK_SECONDS: Final = 7.0
"""Longest that a look may take, its turn included: more than a slow API server's 5 s, less than callers endure."""
LOOKS_AT_ONCE: Final = 32
PAGE: Final = 50
"""Objects per page of a list: what is looked through, is in memory as often as there are looks."""

R = TypeVar("R", bound=Resource)

_log = get_logger(__name__)


class Looks:
    """What the API server has now; None is what it doesn't have, or what can't be read.

    Every method raises KubeError when it can't be asked, within LOOK_SECONDS.
    """

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._turns = asyncio.Semaphore(LOOKS_AT_ONCE)

    async def key(self, namespace: str, name: str) -> ApiKey | None:
        """Return an API key."""
        return await self._fetch(ApiKey, namespace, name)

    async def keys(self, namespace: str) -> list[ApiKey]:
        """Return every API key of an account's namespace."""
        async with self._turn():
            listed = await self._client.list_objects(ApiKey.KIND, namespace)
        return [key for body in listed["items"] if (key := _read(ApiKey, body)) is not None]

    async def account(self, name: str) -> Account | None:
        """Return an account."""
        return await self._fetch(Account, None, name)

    async def session(self, namespace: str, name: str, uid: str | None = None) -> Session | None:
        """Return a session's object by its name; with `uid`, only that very one."""
        found = await self._fetch(Session, namespace, name)
        return found if found is not None and uid in (None, found.uid) else None

    async def session_by_uid(self, namespace: str, uid: str) -> Session | None:
        """Return a session's object whose name nobody knows."""
        async with self._turn():
            async for page in pages(self._client.list_objects, Session.KIND, namespace, limit=PAGE):
                for body in page["items"]:
                    if body["metadata"]["uid"] == uid:
                        return from_body(Session, body)
        return None

    async def record(self, namespace: str, uid: str) -> Record | None:
        """Return the record of a session."""
        return await self._fetch(Record, namespace, uid)

    async def webhooks(self, namespace: str) -> list[WebhookEndpoint]:
        """Return every webhook endpoint of an account's namespace."""
        async with self._turn():
            listed = await self._client.list_objects(WebhookEndpoint.KIND, namespace)
        return [from_body(WebhookEndpoint, body) for body in listed["items"]]

    async def delivery(self, namespace: str, name: str) -> WebhookDelivery | None:
        """Return a webhook delivery."""
        return await self._fetch(WebhookDelivery, namespace, name)

    async def _fetch(self, model: type[R], namespace: str | None, name: str) -> R | None:
        async with self._turn():
            try:
                body: dict[str, Any] = await self._client.get(model.KIND, namespace, name)
            except NotFound:
                return None
        return _read(model, body)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(LOOK_SECONDS), self._turns:
                DIRECT_LOOKS.inc()
                yield
        except TimeoutError as error:
            raise Unreachable(f"the API server did not answer within {LOOK_SECONDS:g} s") from error


def _read(model: type[R], body: Any) -> R | None:
    """Return the object; None when its fields make no sense: what is not understood allows nothing."""
    try:
        return from_body(model, body)
    except msgspec.ValidationError as error:
        _log.error("object can't be read", kind=model.KIND.plural, name=body["metadata"]["name"], error=str(error))
        return None
