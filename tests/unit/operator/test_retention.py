"""Which records go."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftstack_common.kinds import CreateRequest, Record, WebhookDelivery, WebhookEndpoint
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.errors import KindGone, Unreachable
from driftstack_common.times import ServerClock, format_time, now
from driftstack_operator.metrics import Metrics
from driftstack_operator.retention import Kept, Retention, Rules, surplus
from driftstack_operator.settings import load_settings
from tests.unit.operator.fakes import FakeKube
from tests.unit.webhooks.builders import endpoint_body

NOW = datetime(2026, 5, 12, tzinfo=UTC)
RULES = Rules(per_account=2, age=timedelta(days=7), in_cluster=3)


def kept(namespace: str, hours: float) -> Kept:
    return Kept(namespace, f"{namespace}-{hours}", NOW - timedelta(hours=hours))


def test_newest_of_each_account_stay() -> None:
    records = [kept("a", 3), kept("a", 1), kept("a", 2), kept("b", 50)]
    assert surplus(records, NOW, RULES) == [kept("a", 3)]


def test_old_ones_go_even_when_few() -> None:
    assert surplus([kept("a", 24 * 7 + 1), kept("a", 24 * 7 - 1)], NOW, RULES) == [kept("a", 24 * 7 + 1)]


def test_ceiling_of_the_cluster_takes_the_oldest_of_all() -> None:
    records = [kept("a", 1), kept("a", 2), kept("b", 3), kept("b", 4)]
    assert surplus(records, NOW, RULES) == [kept("b", 4)]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 400)), unique=True),
    st.integers(0, 5),
    st.integers(0, 9),
)
def test_what_stays_keeps_every_rule_and_nothing_goes_without_need(
    records: list[tuple[str, int]], per_account: int, in_cluster: int
) -> None:
    rules = Rules(per_account, timedelta(days=7), in_cluster)
    everything = [kept(namespace, hours) for namespace, hours in records]
    goes = surplus(everything, NOW, rules)
    stays = [record for record in everything if record not in goes]
    assert len(stays) <= in_cluster
    assert all(NOW - record.created_at <= rules.age for record in stays)
    assert all(sum(r.namespace == n for r in stays) <= per_account for n in "abc")
    full = len(stays) == in_cluster
    for record in goes:
        own = sum(r.namespace == record.namespace for r in stays)
        newer = sum(r.namespace == record.namespace and r.created_at > record.created_at for r in everything)
        assert full or own == per_account or newer >= per_account or NOW - record.created_at > rules.age


async def test_removes_what_is_old_and_nothing_else() -> None:
    kube, metrics = FakeKube(), Metrics()
    for kind, hours in ((Record, 24 * 8), (Record, 1), (CreateRequest, 25), (CreateRequest, 23)):
        created = format_time(now() - timedelta(hours=hours))
        meta = {"name": f"age-{hours}", "namespace": "acct-acme", "creationTimestamp": created}
        kube.put(kind.KIND, {"metadata": meta, "spec": {}})
    await Retention(kube, load_settings(), metrics).remove()
    left = {(plural, name) for plural, _, name in kube.objects}
    assert left == {("sessionrecords", "age-1"), ("createrequests", "age-23")}
    assert metrics.registry.get_sample_value("driftstack_records_removed_total") == 1


async def test_what_can_not_be_removed_stops_nothing() -> None:
    kube, metrics = FakeKube(), Metrics()
    for number in range(3):
        meta = {"name": f"old-{number}", "namespace": "acct-acme", "creationTimestamp": "2026-01-01T00:00:00Z"}
        kube.put(Record.KIND, {"metadata": meta, "spec": {}})
    kube.fail("delete", "sessionrecords", Unreachable("no answer"))
    retention = Retention(kube, load_settings(), metrics)
    await retention.remove()
    assert len(kube.all(Record.KIND)) == 1
    assert metrics.registry.get_sample_value("driftstack_records_removed_total") == 2
    await retention.remove()
    assert kube.all(Record.KIND) == []


async def test_key_that_is_used_anew_meanwhile_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kube = FakeKube()
    meta = {"name": "idem-1", "namespace": "acct-acme", "creationTimestamp": "2026-01-01T00:00:00Z"}
    kube.put(CreateRequest.KIND, {"metadata": meta, "spec": {}})
    listing = kube.list_metadata

    async def answer(*args: Any, **query: Any) -> Any:
        listed = await listing(*args, **query)
        if args[0] is CreateRequest.KIND:
            kube.vanish(CreateRequest.KIND, "acct-acme", "idem-1")
            kube.put(CreateRequest.KIND, {"metadata": {"name": "idem-1", "namespace": "acct-acme"}, "spec": {}})
        return listed

    monkeypatch.setattr(kube, "list_metadata", answer)
    await Retention(kube, load_settings(), Metrics()).remove()
    assert len(kube.all(CreateRequest.KIND)) == 1


async def test_delivery_that_is_replayed_meanwhile_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kube = FakeKube()
    meta = {"name": "old", "namespace": "acct-acme", "creationTimestamp": "2026-01-01T00:00:00Z"}
    kube.put(WebhookDelivery.KIND, {"metadata": meta, "status": {"phase": "dlq"}})
    listing = kube.list_metadata

    async def answer(kind: Kind, *args: Any, fieldSelector: str, **query: Any) -> Any:
        if fieldSelector == "status.phase=dlq":
            listed = await listing(kind, *args, **query)
            kube.change(WebhookDelivery.KIND, "acct-acme", "old", phase="pending")
            return listed
        return await listing(kind, *args, fieldSelector=fieldSelector, **query)

    monkeypatch.setattr(kube, "list_metadata", answer)
    await Retention(kube, load_settings(), Metrics()).remove()
    assert len(kube.all(WebhookDelivery.KIND)) == 1


async def test_clock_of_the_operator_a_week_ahead_removes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server stamps the records, and by its clock they are judged."""
    kube, metrics = FakeKube(), Metrics()
    clock = ServerClock(lambda: time.time() + 8 * 24 * 3600)
    stamp = format_datetime(datetime.now(UTC), usegmt=True)
    monkeypatch.setattr("driftstack_operator.retention.now", lambda: clock.now)
    meta = {"name": "young", "namespace": "acct-acme", "creationTimestamp": format_time(datetime.now(UTC))}
    kube.put(Record.KIND, {"metadata": meta, "spec": {}})
    retention = Retention(kube, load_settings(), metrics)
    listing = kube.list_metadata

    async def answer(*args: Any, **query: Any) -> Any:
        own = time.time() + 8 * 24 * 3600
        clock.learn(stamp, own, own)
        return await listing(*args, **query)

    monkeypatch.setattr(kube, "list_metadata", answer)
    await retention.remove()
    assert len(kube.all(Record.KIND)) == 1


def put_delivery(kube: FakeKube, name: str, phase: str, created_at: str = "2026-01-01T00:00:00Z") -> None:
    meta = {"name": name, "namespace": "acct-acme", "creationTimestamp": created_at}
    kube.put(WebhookDelivery.KIND, {"metadata": meta, "spec": {}, "status": {"phase": phase}})


async def test_finished_deliveries_go_and_unfinished_stay_however_old() -> None:
    kube, metrics = FakeKube(), Metrics()
    for phase in ("pending", "in_flight", "failed", "delivered", "dlq"):
        put_delivery(kube, f"old-{phase}", phase)
    put_delivery(kube, "young", "delivered", format_time(datetime.now(UTC)))
    await Retention(kube, load_settings(), metrics).remove()
    left = sorted(body["metadata"]["name"] for body in kube.all(WebhookDelivery.KIND))
    assert left == ["old-failed", "old-in_flight", "old-pending", "young"]
    assert metrics.registry.get_sample_value("driftstack_webhook_deliveries_removed_total") == 2


async def test_deliveries_are_bounded_by_account() -> None:
    kube = FakeKube()
    moment = datetime.now(UTC)
    for number in range(5):
        put_delivery(kube, f"d-{number}", "delivered", format_time(moment - timedelta(seconds=number)))
    await Retention(kube, load_settings(deliveries_per_account=2), Metrics()).remove()
    assert sorted(body["metadata"]["name"] for body in kube.all(WebhookDelivery.KIND)) == ["d-0", "d-1"]


async def test_disabled_endpoint_goes_when_it_is_old() -> None:
    kube = FakeKube()
    for number, (name, spec) in enumerate(
        {
            "live": {},
            "just-disabled": {"disabled": True, "disabledAt": format_time(datetime.now(UTC))},
            "long-disabled": {"disabled": True, "disabledAt": "2026-01-01T00:00:00Z"},
        }.items()
    ):
        kube.put(WebhookEndpoint.KIND, endpoint_body(name, number + 1, **spec))
    await Retention(kube, load_settings(), Metrics()).remove()
    assert sorted(body["metadata"]["name"] for body in kube.all(WebhookEndpoint.KIND)) == ["just-disabled", "live"]


async def test_cluster_without_webhooks_keeps_its_retention() -> None:
    kube = FakeKube()
    kube.fail("list", "webhookdeliveries", KindGone("no such kind", status=404))
    meta = {"name": "old", "namespace": "acct-acme", "creationTimestamp": "2026-01-01T00:00:00Z"}
    kube.put(CreateRequest.KIND, {"metadata": meta, "spec": {}})
    await Retention(kube, load_settings(), Metrics()).remove()
    assert kube.all(CreateRequest.KIND) == []


async def test_endpoint_that_cannot_be_read_ends_nothing() -> None:
    kube = FakeKube()
    spec = {"url": "https://a.example", "events": [], "secretRef": {"name": "s"}, "disabled": True}
    old = "2020-01-01T00:00:00Z"
    for name, moment in (("odd", "0000-01-01T00:00:00Z"), ("old", old)):
        meta = {"name": name, "namespace": "acct-acme", "creationTimestamp": old}
        kube.put(WebhookEndpoint.KIND, {"metadata": meta, "spec": {**spec, "disabledAt": moment}})
    await Retention(kube, load_settings(), Metrics()).remove()
    assert [body["metadata"]["name"] for body in kube.all(WebhookEndpoint.KIND)] == ["odd"]
