"""The status of endpoints: what became of their deliveries, written about once a second by who sends to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

from driftstack_common.kinds import WebhookEndpoint, from_body
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import KubeError, NotFound
from driftstack_common.logging import get_logger
from driftstack_common.times import now
from driftstack_common.webhooks.targets import Rules, TargetRefused, parse_target
from driftstack_operator.webhooks.keys import NoKey, SigningKeys
from driftstack_operator.webhooks.standing import Tally, judge, status_patch

PAUSE: Final = 1.0
"""Seconds between two writes of one status."""

logger = get_logger(__name__)


class Endpoints:
    """Keeps tallies, and writes them.

    Args:
        kube: client to write with.
        keys: say whether an endpoint has one.
        rules: where deliveries may go.
        owns: whether this process sends to the endpoint of this uid.
        changed: told of each endpoint that was written.
        clock: the time of day.
    """

    def __init__(
        self,
        kube: KubeClient,
        keys: SigningKeys,
        rules: Rules,
        *,
        owns: Callable[[str], bool],
        changed: Callable[[WebhookEndpoint], None],
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._kube = kube
        self._keys = keys
        self._rules = rules
        self._owns = owns
        self._changed = changed
        self._clock = clock
        self._known: dict[str, WebhookEndpoint] = {}
        self._tallies: dict[str, Tally] = {}
        self._stale: set[str] = set()
        self._unready: set[str] = set()

    # -- what is told

    def seen(self, endpoint: WebhookEndpoint) -> None:
        """An endpoint is new or has changed."""
        uid = endpoint.metadata.uid
        known = self._known.get(uid)
        if known is None or _version(known) < _version(endpoint):
            self._known[uid] = endpoint
            self._stale.add(uid)

    def gone(self, uid: str) -> None:
        """An endpoint is gone."""
        self._known.pop(uid, None)
        self._tallies.pop(uid, None)
        self._stale.discard(uid)
        self._unready.discard(uid)

    def attempted(self, endpoint: WebhookEndpoint, *, arrived: bool, last: bool) -> None:
        """An attempt has ended; `last` when the delivery is given up."""
        self._tally(endpoint).count(self._clock(), arrived=arrived, last=last)

    def abandoned(self, endpoint: WebhookEndpoint) -> None:
        """A delivery was given up without an attempt."""
        self._tally(endpoint).dlq += 1

    def look_again(self, endpoint: WebhookEndpoint) -> None:
        """Its key can't be read: say so."""
        self._stale.add(endpoint.metadata.uid)

    def look_at_all(self) -> None:
        """Endpoints may be ours that were not."""
        self._stale |= self._known.keys()

    # -- what is written

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await asyncio.sleep(PAUSE)
            await self.flush()

    async def flush(self) -> None:
        """Write each status that is no longer true."""
        due, self._stale = self._stale | self._unready, set()
        for uid in due:
            if uid not in self._known:
                self._tallies.pop(uid, None)  # an attempt has outlived its endpoint
            elif self._owns(uid):
                try:
                    await self._write(uid)
                except NotFound:
                    continue
                except KubeError as error:
                    self._stale.add(uid)
                    logger.warning("status of an endpoint not written yet", endpoint=uid, error=str(error))

    async def _write(self, uid: str) -> None:
        endpoint = self._known[uid]
        no_key = await self._no_key(endpoint)
        (self._unready.add if no_key else self._unready.discard)(uid)
        tally = self._tallies.pop(uid, Tally())
        verdict = judge(endpoint, self._refused(endpoint), no_key)
        patch = status_patch(endpoint, tally, verdict, self._clock())
        if not patch:
            return
        meta = endpoint.metadata
        body = {"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "status": patch}
        try:
            stored = await self._kube.merge_patch(WebhookEndpoint.KIND, meta.namespace, meta.name, body, "status")
        except KubeError:
            self._tallies[uid] = tally.plus(self._tallies.get(uid, Tally()))
            raise
        if uid not in self._known:  # it went before the answer came
            return
        written = from_body(WebhookEndpoint, stored)
        if written.failed and not endpoint.failed:
            logger.warning("endpoint disabled", namespace=meta.namespace, endpoint=meta.name)
        self._known[uid] = written
        self._changed(written)

    async def _no_key(self, endpoint: WebhookEndpoint) -> tuple[str, str] | None:
        if not endpoint.live:
            return None
        try:
            await self._keys.of(endpoint, self._clock())
        except NoKey as error:
            return error.reason, str(error)
        return None

    def _refused(self, endpoint: WebhookEndpoint) -> str | None:
        try:
            parse_target(endpoint.spec.url, self._rules)
        except TargetRefused as error:
            return str(error)
        return None

    def _tally(self, endpoint: WebhookEndpoint) -> Tally:
        uid = endpoint.metadata.uid
        self._stale.add(uid)
        return self._tallies.setdefault(uid, Tally())


def _version(endpoint: WebhookEndpoint) -> int:
    return int(endpoint.metadata.resource_version)
