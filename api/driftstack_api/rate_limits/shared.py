"""Buckets that all replicas share, in Redis (or Valkey), which may go away: then nobody waits for it.

After one failure Redis is left alone until it answers again, which is tried in the background.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from throttled.asyncio import RateLimitState, RedisStore

from driftstack_api.metrics import RATE_LIMITS_SHARED
from driftstack_api.rate_limits.buckets import Buckets
from driftstack_common.errors import SettingsError
from driftstack_common.kinds import Bucket
from driftstack_common.logging import get_logger

ANSWER_SECONDS: Final = 0.05
"""Longest that a call waits for Redis."""
CONNECT_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 1.0
"""Between two attempts to get Redis back."""
CONNECTIONS: Final = 16
_PROBE: Final = Bucket(capacity=1, refill_per_minute=60)

_log = get_logger(__name__)


class SharedBuckets:
    """Buckets in the Redis that this folder describes; `run` it as a task.

    Args:
        folder: a mounted Secret: `url` (`rediss://user:password@host:6379/0`) and, for TLS with an authority of
            your own, `ca.crt`. It is read before each attempt to connect, so that a password can change.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store: _Store | None = None
        self._buckets: Buckets | None = None
        self._lost = asyncio.Event()
        self._lost.set()
        _read_url(folder)
        RATE_LIMITS_SHARED.set(0)

    async def take(self, name: str, bucket: Bucket) -> tuple[bool, RateLimitState] | None:
        """Take a token as `Buckets` does; None when Redis doesn't answer."""
        buckets = self._buckets
        if buckets is None:
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await buckets.take(name, bucket)
        except Exception as error:  # whatever two libraries raise: calls are answered all the same
            self._lose(buckets, error)
            return None

    async def run(self) -> None:
        """Connect, and connect anew whenever Redis was lost, until cancelled."""
        told = False
        try:
            while True:
                await self._lost.wait()
                try:
                    await self._connect()
                    told = False
                except Exception as error:  # as in take
                    if not told:
                        _log.warning("Redis can't be reached: rate limits are per replica", error=_said(error))
                    told = True
                    await asyncio.sleep(PAUSE_SECONDS)
        finally:
            await self._close()

    async def _connect(self) -> None:
        await self._close()
        self._store = _Store(_read_url(self._folder), self._folder / "ca.crt")
        buckets = Buckets(self._store)
        async with asyncio.timeout(CONNECT_SECONDS):
            await buckets.take("probe", _PROBE)  # which also brings the script there
        self._buckets = buckets
        self._lost.clear()
        RATE_LIMITS_SHARED.set(1)
        _log.info("rate limits are shared by all replicas")

    async def _close(self) -> None:
        store, self._store, self._buckets = self._store, None, None
        if store is not None:
            await store.close()

    def _lose(self, buckets: Buckets, error: Exception) -> None:
        if self._buckets is not buckets:  # another call has told
            return
        self._buckets = None
        self._lost.set()
        RATE_LIMITS_SHARED.set(0)
        _log.warning("Redis doesn't answer: rate limits are per replica", error=_said(error))


class _Store(RedisStore):
    """throttled-py's store, on connections that are bounded, never tried twice, and can be closed."""

    def __init__(self, url: str, authority: Path) -> None:
        pool: dict[str, Any] = {
            "max_connections": CONNECTIONS,
            "socket_connect_timeout": CONNECT_SECONDS,
            "retry": Retry(NoBackoff(), 0),
        }
        if authority.exists():
            pool["ssl_ca_certs"] = str(authority)
        options = {
            "CONNECTION_POOL_CLASS": "redis.asyncio.BlockingConnectionPool",
            "CONNECTION_POOL_KWARGS": pool,
        }
        super().__init__(server=url, options=options)

        self._client = cast("Redis", self._backend.get_client())

    async def close(self) -> None:
        await self._client.aclose(close_connection_pool=True)


def _read_url(folder: Path) -> str:
    """Return the URL in the folder.

    Raises:
        SettingsError: there is none, or it can't be one; the message has nothing of it.
    """
    try:
        url = (folder / "url").read_text().strip()
    except OSError as error:
        raise SettingsError(f"{folder / 'url'} can't be read: {error.strerror}") from error
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("redis", "rediss") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(
            f"{folder / 'url'} must be redis://[[user]:password@]host[:port][/database], or rediss://"
        )
    return url


def _said(error: BaseException) -> str:
    """Return what to tell of an error: its kinds, for a text of the libraries' might repeat the URL."""
    if isinstance(error, SettingsError):
        return str(error)
    name = type(error).__name__
    return name if error.__cause__ is None else f"{name}: {_said(error.__cause__)}"
