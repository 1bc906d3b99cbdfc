"""Events: one per session and reason, never lost, never in the way."""

from __future__ import annotations

import pytest

from driftstack_common.kinds import Record, Session
from driftstack_common.kube.client import EVENT, POD
from driftstack_common.kube.errors import (
    Forbidden,
    Invalid,
    KubeError,
    NamespaceTerminating,
    NotFound,
    QuotaExceeded,
    Unreachable,
)
from driftstack_operator.events import PATIENCE, Event, Recorder, build_event, ready_event
from driftstack_operator.metrics import Metrics
from tests.unit.operator.builders import NAMESPACE, UID, Body, ended, session
from tests.unit.operator.fakes import FakeKube
from tests.unit.operator.rig import BROWSERS, Rig

ABOUT = Event(
    session=UID,
    kind=Record.KIND,
    namespace=NAMESPACE,
    name=UID,
    uid="u",
    type="Warning",
    reason="PodDeleted",
    message="it was deleted",
    at="2026-05-12T12:00:00.000Z",
)


@pytest.fixture
async def rig() -> Rig:
    rig = Rig()
    await rig.prime()
    await rig.ready()
    return rig


def events(rig: Rig) -> list[tuple[str, str, str]]:
    return [(body["type"], body["reason"], body["involvedObject"]["kind"]) for body in rig.kube.all(EVENT)]


def dropped(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("driftstack_events_dropped_total")


def refuse_events(rig: Rig, error: KubeError) -> None:
    """Have no Event be taken until the faults are cleared."""
    for _ in range(20):
        rig.kube.fail("create", EVENT.plural, error)


def record_event(rig: Rig) -> Body:
    return rig.kube.objects[(EVENT.plural, NAMESPACE, f"{UID}.browsercrashed")]


async def test_posted_twice_it_is_one() -> None:
    kube, metrics = FakeKube(), Metrics()
    recorder = Recorder(kube, metrics)
    await recorder.post(ABOUT)
    await recorder.post(ABOUT)
    (body,) = kube.all(EVENT)
    assert body["metadata"]["name"] == f"{UID}.poddeleted"
    assert (body["type"], body["reason"], body["message"]) == ("Warning", "PodDeleted", "it was deleted")
    assert body["involvedObject"]["uid"] == "u"
    assert body["firstTimestamp"] == body["lastTimestamp"] == ABOUT.at
    assert dropped(metrics) == 0


@pytest.mark.parametrize(
    "error", [Unreachable("no answer"), KubeError("etcd", status=500), KubeError("slow", status=429)]
)
async def test_what_may_pass_is_the_callers_to_repeat(error: KubeError) -> None:
    kube, metrics = FakeKube(), Metrics()
    kube.fail("create", EVENT.plural, error)
    with pytest.raises(KubeError):
        await Recorder(kube, metrics).post(ABOUT)
    assert dropped(metrics) == 0


@pytest.mark.parametrize(
    "error",
    [
        NamespaceTerminating("goes"),
        NotFound("no namespace"),
        Invalid("a policy"),
        QuotaExceeded("exceeded quota: few-events"),
    ],
)
async def test_what_is_refused_for_good_is_counted_and_holds_nobody(error: KubeError) -> None:
    kube, metrics = FakeKube(), Metrics()
    kube.fail("create", EVENT.plural, error)
    await Recorder(kube, metrics).post(ABOUT)
    assert dropped(metrics) == 1


async def test_a_right_that_is_missing_is_waited_for_but_not_for_ever() -> None:
    kube, metrics, now = FakeKube(), Metrics(), [0.0]
    recorder = Recorder(kube, metrics, clock=lambda: now[0])

    async def refused() -> bool:
        kube.fail("create", EVENT.plural, Forbidden("RBAC has not been read yet"))
        try:
            await recorder.post(ABOUT)
        except Forbidden:
            return True
        return False

    assert await refused()
    now[0] += PATIENCE / 2
    await recorder.post(ABOUT)  # taken: the next refusal is a new one
    now[0] += PATIENCE / 2 + 1
    assert await refused()
    assert dropped(metrics) == 0
    now[0] += PATIENCE
    assert not await refused()
    assert not await refused(), "a right that stays missing holds no other session up"
    assert dropped(metrics) == 2


def test_messages_are_bounded() -> None:
    status = session(phase="ready").status
    assert build_event(ready_event(session(phase="ready")))["message"].startswith("ready after ")
    assert status.browser is not None
    long = Event(**{field: getattr(ABOUT, field) for field in ABOUT.__struct_fields__} | {"message": "x" * 5000})
    assert len(build_event(long)["message"]) == 1024


async def test_ready_and_the_end_are_told_once_each(rig: Rig) -> None:
    rig.end_pod(**ended("browser-crashed"))
    await rig.settle()
    assert events(rig) == [("Normal", "Ready", "BrowserSession"), ("Warning", "BrowserCrashed", "SessionRecord")]
    record = rig.record()
    assert record is not None
    assert record_event(rig)["involvedObject"]["uid"] == record["metadata"]["uid"]
    assert record_event(rig)["lastTimestamp"] == record["spec"]["endedAt"]


async def test_an_operator_that_dies_before_it_tells_of_the_end_loses_nothing(rig: Rig) -> None:
    refuse_events(rig, Unreachable("killed here"))
    rig.end_pod(**ended("browser-crashed", "Chromium exited with 7"))
    await rig.settle()
    assert rig.record() is not None
    assert rig.session() is not None, "the finalizer goes only after the Event"
    rig.kube.faults.clear()
    await rig.restart()
    await rig.settle()
    assert rig.session() is None
    assert record_event(rig)["message"] == "Chromium exited with 7"
    assert len(events(rig)) == 2


async def test_an_event_that_fails_keeps_no_pod_alive(rig: Rig) -> None:
    refuse_events(rig, KubeError("etcd", status=500))
    await rig.kube.delete(Session.KIND, NAMESPACE, "one")
    await rig.settle()
    assert ("delete", POD.plural) in rig.writes()
    assert rig.session() is not None
    rig.kube.faults.clear()
    rig.operator.touch_session(UID)
    await rig.settle()
    assert rig.session() is None
    assert ("Normal", "Deleted", "SessionRecord") in events(rig)


async def test_an_operator_that_dies_before_it_tells_of_ready_loses_nothing() -> None:
    rig = Rig()
    await rig.prime()
    refuse_events(rig, Unreachable("killed here"))
    await rig.ready()
    assert events(rig) == []
    rig.kube.faults.clear()
    await rig.restart()
    await rig.settle()
    assert events(rig) == [("Normal", "Ready", "BrowserSession")]


async def test_a_session_that_was_ready_long_ago_is_no_news(rig: Rig) -> None:
    rig.kube.vanish(EVENT, NAMESPACE, f"{UID}.ready")  # events last an hour
    stages = {"ready": "2026-05-12T12:00:00.000Z"}
    rig.kube.change(Session.KIND, NAMESPACE, "one", stages=stages)
    await rig.restart()
    await rig.settle()
    assert events(rig) == []


async def test_a_refused_event_of_the_start_does_not_hold_the_end_back(rig: Rig) -> None:
    rig.kube.objects.pop((EVENT.plural, NAMESPACE, f"{UID}.ready"))
    await rig.restart()
    refuse_events(rig, KubeError("etcd", status=500))
    await rig.settle()
    assert len(rig.kube.faults) < 20
    rig.kube.faults.clear()
    await rig.kube.delete(POD, BROWSERS, f"browser-{UID}")
    await rig.settle()
    assert events(rig) == [("Warning", "PodDeleted", "SessionRecord")]


async def test_no_record_no_event_when_the_namespace_goes(rig: Rig) -> None:
    rig.kube.terminating.add(NAMESPACE)
    await rig.kube.delete(Session.KIND, NAMESPACE, "one")
    await rig.settle()
    assert rig.session() is None
    assert [event for event in events(rig) if event[2] == "SessionRecord"] == []
