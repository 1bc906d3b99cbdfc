"""When each key was last used, without a write for each call: one a minute and key at most, and never in the way.

What can't be written now is dropped: the next call with that key tries again.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from driftstack_common.kinds import ApiKey
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import KubeError
from driftstack_common.logging import get_logger
from driftstack_common.times import format_time, now

MINUTE: Final = 60.0
"""Seconds between two writes of one key; also how exact the stamp is."""
PAUSE_SECONDS: Final = 1.0
"""Between two rounds of writes."""
AT_ONCE: Final = 8
"""Writes at a time."""

_log = get_logger(__name__)


class LastUsed:
    """Notes uses of keys, and writes them down in the background; `run` it as a task."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._due: dict[str, float] = {}
        self._waiting: dict[str, tuple[ApiKey, str]] = {}

    def note(self, key: ApiKey) -> None:
        """Take note that a key is used now."""
        moment = time.monotonic()
        if moment < self._due.get(key.metadata.uid, 0.0):
            return
        used, before = now(), key.status.last_used_at
        age = MINUTE if before is None else (used - before).total_seconds()
        if age >= MINUTE:
            self._waiting[key.metadata.uid] = key, format_time(used)
            age = 0.0
        # Else another replica has written it: look again when that is a minute old.
        self._due[key.metadata.uid] = moment + MINUTE - max(age, 0.0)

    async def run(self) -> None:
        """Write down what was noted, round after round, until cancelled."""
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            await self._write()
            self._forget()

    async def drain(self, seconds: float) -> None:
        """Write down what is left, in at most this time."""
        try:
            async with asyncio.timeout(seconds):
                await self._write()
        except TimeoutError:
            _log.info("last uses of keys are not written down", keys=len(self._waiting))

    async def _write(self) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def write(key: ApiKey, used: str) -> None:
            async with turns:
                await self._patch(key, used)

        waiting, self._waiting = self._waiting, {}
        await asyncio.gather(*(write(key, used) for key, used in waiting.values()))

    async def _patch(self, key: ApiKey, used: str) -> None:
        """Two replicas may write the same key: both stamps are right. With the uid, no successor is meant."""
        patch = {"metadata": {"uid": key.metadata.uid}, "status": {"lastUsedAt": used}}
        try:
            await self._client.merge_patch(
                ApiKey.KIND, key.metadata.namespace, key.metadata.name, patch, subresource="status"
            )
        except KubeError as error:
            _log.debug("the last use of a key is not written down", key=key.id, error=str(error))

    def _forget(self) -> None:
        """Drop what is due, so that keys that are used no more take no memory."""
        moment = time.monotonic()
        self._due = {uid: due for uid, due in self._due.items() if due > moment}
