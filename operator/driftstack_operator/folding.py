"""Before records go, what they say of usage is added to the AccountUsage of their account.

One write adds some records and names them; only then are they deleted. Who comes after a crash in between finds
them named, and adds nothing twice. A name goes once its record is known to be gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable
from datetime import date, timedelta
from typing import Final

import msgspec

from driftstack_common.kinds import AccountUsage, AccountUsageSpec, Record, RecordSpec, from_body, to_body
from driftstack_common.kinds.meta import Meta
from driftstack_common.kube.client import Body, KubeClient
from driftstack_common.kube.errors import KindGone, NotFound
from driftstack_common.kube.pages import pages
from driftstack_common.logging import get_logger
from driftstack_common.names import USAGE_NAME
from driftstack_common.times import now
from driftstack_common.usage import add, usage_of_record

KEPT_DAYS: Final = 93
"""The current month, and the 90 days before today."""
AT_ONCE: Final = 8

logger = get_logger(__name__)


def folded(
    sums: AccountUsageSpec, records: Iterable[RecordSpec], present: Container[str], today: date
) -> AccountUsageSpec:
    """Return the sums with these records in them, each once. Pure.

    Args:
        present: names of the records that there were when the sums had been read already.
    """
    days, known = dict(sums.days), set(sums.folded)
    named = [uid for uid in sums.folded if uid in present]
    for record in records:
        if record.session_uid not in known:
            add(days, usage_of_record(record))
            named.append(record.session_uid)
    first = (today - timedelta(days=KEPT_DAYS - 1)).isoformat()
    return AccountUsageSpec(days={day: days[day] for day in sorted(days) if day >= first}, folded=named)


class Folding:
    """The sums of one account, for one round of retention.

    Every method raises KubeError; Conflict or Invalid when somebody else has written the sums meanwhile.
    """

    def __init__(self, kube: KubeClient, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._sums: AccountUsage | None = None
        self._present: set[str] = set()

    async def begin(self) -> None:
        """Read the sums, and after them which records there are."""
        try:
            self._sums = from_body(
                AccountUsage, await self._kube.get(AccountUsage.KIND, self._namespace, USAGE_NAME)
            )
        except KindGone:
            raise
        except NotFound:
            self._sums = None
        async for page in pages(self._kube.list_metadata, Record.KIND, self._namespace):
            self._present |= {item["metadata"]["name"] for item in page.get("items") or []}

    async def add(self, names: Iterable[str]) -> None:
        """Add records: they may be deleted then."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def read(name: str) -> RecordSpec | None:
            async with turns:
                return await self._read(name)

        records = await asyncio.gather(*map(read, names))
        before = self._sums.spec if self._sums is not None else AccountUsageSpec()
        spec = folded(before, filter(None, records), self._present, now().date())
        if spec != before:
            self._sums = from_body(AccountUsage, await self._write(spec))

    async def _read(self, name: str) -> RecordSpec | None:
        try:
            return from_body(Record, await self._kube.get(Record.KIND, self._namespace, name)).spec
        except NotFound:
            return None
        except msgspec.ValidationError as error:  # it must not stay for ever
            logger.error("record not counted", namespace=self._namespace, record=name, error=str(error))
            return None

    async def _write(self, spec: AccountUsageSpec) -> Body:
        if self._sums is None:
            body = to_body(AccountUsage(metadata=Meta(name=USAGE_NAME, namespace=self._namespace), spec=spec))
            return await self._kube.create(AccountUsage.KIND, self._namespace, body)
        version = self._sums.metadata.resource_version
        patch = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "replace", "path": "/spec", "value": msgspec.to_builtins(spec)},
        ]
        return await self._kube.json_patch(AccountUsage.KIND, self._namespace, USAGE_NAME, patch)
