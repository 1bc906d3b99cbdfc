"""Usage of records that go: whatever dies when, all of it is counted, and nothing twice."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftstack_common.kinds import (
    AccountUsage,
    AccountUsageSpec,
    DayUsage,
    Record,
    RecordSpec,
    StepCounts,
    from_body,
)
from driftstack_common.kube.errors import KindGone, NamespaceTerminating, Unreachable
from driftstack_common.times import format_time, now, parse_time
from driftstack_common.usage import add, summed, usage_of_record
from driftstack_operator.folding import KEPT_DAYS, folded
from driftstack_operator.metrics import Metrics
from driftstack_operator.retention import MOST_OF_ACCOUNT, Retention
from driftstack_operator.settings import load_settings
from tests.unit.operator.builders import NAMESPACE
from tests.unit.operator.fakes import Body, FakeKube

TODAY = now().date()


class Crash(Exception):
    """The operator's process ends."""


class Mortal(FakeKube):
    """Lets the operator die at its write number `dies_at`, before or after it."""

    dies_at: int | None = None
    after = False

    async def create(self, *args: Any, **options: Any) -> Body:
        return await self._mortal(super().create(*args, **options))

    async def json_patch(self, *args: Any, **options: Any) -> Body:
        return await self._mortal(super().json_patch(*args, **options))

    async def delete(self, *args: Any, **options: Any) -> Body:
        return await self._mortal(super().delete(*args, **options))

    async def _mortal(self, write: Any) -> Body:
        if self.dies_at is None:
            return await write  # type: ignore[no-any-return]
        self.dies_at -= 1
        if self.dies_at < 0 and not (self.after and self.dies_at == -1):
            write.close()
            raise Crash
        answer: Body = await write
        if self.dies_at < 0:
            raise Crash
        return answer


def put_record(kube: FakeKube, number: int, steps: int = 1, days_ago: int = 0) -> RecordSpec:
    uid = str(UUID(int=number + 1, version=4))
    ended = now() - timedelta(days=days_ago)
    spec = {
        "sessionName": f"s{number}",
        "sessionUid": uid,
        "phase": "destroyed",
        "reason": "Deleted",
        "archetype": "default",
        "apiKeyId": "key_1",
        "createdAt": format_time(ended - timedelta(seconds=90)),
        "readyAt": format_time(ended),
        "endedAt": format_time(ended),
        "durationMilliseconds": 90_000,
        "usage": {ended.date().isoformat(): {"navigate": steps}},
    }
    meta = {"name": uid, "namespace": NAMESPACE, "creationTimestamp": format_time(ended)}
    return from_body(Record, kube.put(Record.KIND, {"metadata": meta, "spec": spec})).spec


def sums(kube: FakeKube) -> AccountUsageSpec:
    found = kube.all(AccountUsage.KIND)
    return from_body(AccountUsage, found[0]).spec if found else AccountUsageSpec()


def shown(kube: FakeKube) -> DayUsage:
    """What the facade adds up of what is stored."""
    stored = sums(kube)
    total = dict(stored.days)
    for body in kube.all(Record.KIND):
        record = from_body(Record, body).spec
        if record.session_uid not in stored.folded:
            add(total, usage_of_record(record))
    return summed(total.values())


def used(records: list[RecordSpec]) -> DayUsage:
    return summed(usage for record in records for usage in usage_of_record(record).values())


def retention(kube: FakeKube, keeps: int = 0) -> Retention:
    return Retention(kube, load_settings(records_per_account=keeps), Metrics())


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(0, 3), st.none() | st.integers(0, 8), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
def test_at_every_moment_all_is_counted_once(rounds: list[tuple[int, int, int | None, bool]]) -> None:
    """Each round: so many sessions end, so many records may stay, and the operator dies at some write."""
    kube = Mortal()
    made: list[RecordSpec] = []

    def watch(*_: Any) -> None:
        assert shown(kube) == used(made)

    async def live() -> None:
        for ends, keeps, dies_at, after in rounds:
            kube.watchers.clear()
            kube.dies_at = None
            begun = len(made)
            made.extend([put_record(kube, begun + number, steps=number + 1) for number in range(ends)])
            kube.watchers.append(watch)
            kube.dies_at, kube.after = dies_at, after
            try:
                await retention(kube, keeps).remove()
            except (Crash, ExceptionGroup):
                continue
            finally:
                watch()

    asyncio.run(live())


async def test_records_go_once_they_are_counted_and_their_names_after_them() -> None:
    kube = FakeKube()
    first = [put_record(kube, number) for number in range(3)]
    await retention(kube).remove()
    assert kube.all(Record.KIND) == []
    assert sorted(sums(kube).folded) == sorted(record.session_uid for record in first)
    last = put_record(kube, 3)
    await retention(kube).remove()
    assert sums(kube).folded == [last.session_uid]
    assert shown(kube).navigate == 4


async def test_one_write_counts_a_hundred_records() -> None:
    kube = FakeKube()
    for number in range(250):
        put_record(kube, number)
    await retention(kube).remove()
    assert [call for call in kube.calls if call[0] != "delete"] == [
        ("create", "accountusages", "usage"),
        ("patch", "accountusages", "usage"),
        ("patch", "accountusages", "usage"),
    ]
    assert (shown(kube).navigate, kube.all(Record.KIND)) == (250, [])


async def test_sums_that_somebody_else_has_written_meanwhile_are_read_again() -> None:
    kube = FakeKube()
    put_record(kube, 0)
    await retention(kube).remove()
    put_record(kube, 1)
    listing = kube.list_metadata

    async def answer(*args: Any, **query: Any) -> Any:
        kube.change(AccountUsage.KIND, NAMESPACE, "usage")
        return await listing(*args, **query)

    kube.list_metadata = answer  # type: ignore[method-assign]
    await retention(kube).remove()
    assert len(kube.all(Record.KIND)) == 1, "kept, as it is not counted"
    kube.list_metadata = listing  # type: ignore[method-assign]
    await retention(kube).remove()
    assert (shown(kube).navigate, kube.all(Record.KIND)) == (2, [])


@pytest.mark.parametrize(
    "error", [KindGone("no such kind"), NamespaceTerminating("it goes"), Unreachable("no answer")]
)
async def test_records_that_can_not_be_counted_are_kept(error: Exception) -> None:
    kube = FakeKube()
    put_record(kube, 0)
    kube.fail("create", "accountusages", error)
    await retention(kube).remove()
    assert len(kube.all(Record.KIND)) == 1
    await retention(kube).remove()
    assert (shown(kube).navigate, kube.all(Record.KIND)) == (1, [])


async def test_cluster_without_the_kind_keeps_records() -> None:
    kube = FakeKube()
    put_record(kube, 0)
    kube.fail("get", "accountusages", KindGone("no such kind"))
    await retention(kube).remove()
    assert len(kube.all(Record.KIND)) == 1


async def test_a_record_that_makes_no_sense_does_not_stay_for_ever() -> None:
    kube = FakeKube()
    spec = put_record(kube, 0)
    kube.objects["sessionrecords", NAMESPACE, spec.session_uid]["spec"]["durationMilliseconds"] = "long"
    put_record(kube, 1)
    await retention(kube).remove()
    assert (shown(kube).navigate, kube.all(Record.KIND)) == (1, [])


async def test_an_account_with_very_many_takes_several_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftstack_operator.retention.MOST_OF_ACCOUNT", 3)
    assert MOST_OF_ACCOUNT <= 4096 - 100, "what the schema takes"
    kube = FakeKube()
    for number in range(5):
        put_record(kube, number)
    assert await retention(kube).remove()
    assert len(kube.all(Record.KIND)) == 2
    assert not await retention(kube).remove()
    assert (shown(kube).navigate, kube.all(Record.KIND)) == (5, [])


def test_old_days_go() -> None:
    today = date(2026, 5, 12)
    days = {(today - timedelta(days=ago)).isoformat(): DayUsage(wait=1) for ago in range(KEPT_DAYS + 5)}
    kept = folded(AccountUsageSpec(days=days), [], set(), today).days
    assert len(kept) == KEPT_DAYS
    assert min(kept) == (today - timedelta(days=KEPT_DAYS - 1)).isoformat()


def test_sums_are_kept_for_the_longest_series_and_the_longest_month() -> None:
    assert max(90 + 1, 31) <= KEPT_DAYS


def test_a_session_over_midnight_is_in_both_days() -> None:
    record = RecordSpec(
        session_name="s",
        session_uid="u",
        phase="destroyed",
        reason="Deleted",
        archetype="default",
        api_key_id="k",
        created_at="2026-05-11T23:59:30.000Z",
        ready_at="2026-05-11T23:59:31.000Z",
        ended_at="2026-05-12T00:02:00.000Z",
        duration_milliseconds=150_000,
        usage={"2026-05-12": StepCounts(wait=1)},
    )
    got = folded(AccountUsageSpec(), [record], set(), parse_time(record.ended_at).date())
    assert got.days == {"2026-05-11": DayUsage(session_minute=1), "2026-05-12": DayUsage(session_minute=2, wait=1)}
    assert folded(got, [record], {"u"}, date(2026, 5, 12)) == got
    assert folded(got, [], set(), date(2026, 5, 12)) == msgspec.structs.replace(got, folded=[])
