"""How long a start has gone on, across operators."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from driftstack_common.kinds import Session
from driftstack_common.kube.client import POD
from driftstack_common.kube.errors import Unreachable
from driftstack_common.names import browser_pod_name
from driftstack_common.times import format_time, now
from tests.unit.operator.builders import NAMESPACE, UID, pod_body, session_body
from tests.unit.operator.rig import BROWSERS, RUNNING, Rig


def aged(body: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the object as made so long ago."""
    body["metadata"]["creationTimestamp"] = format_time(now() - timedelta(seconds=seconds))
    return body


async def found(*, pod: float | None, session: float = 600, **settings: Any) -> Rig:
    """Return an operator that finds a session of this age, and its pod unless that is None."""
    rig = Rig(**settings)
    rig.kube.put(Session.KIND, aged(session_body(), session))
    if pod is not None:
        rig.kube.put(POD, aged(pod_body(phase="Pending", ip=""), pod))
    await rig.prime()
    return rig


@pytest.mark.parametrize(
    ("pod", "session", "expected"),
    [
        pytest.param(None, 600, 0, id="nobody began: the whole time is left"),
        pytest.param(20, 600, 20, id="a pod of an operator before: its age counts"),
        pytest.param(600, 600, 50, id="an old pod: a fair rest is left"),
        pytest.param(600, 20, 20, id="a pod older than the session"),
        pytest.param(-30, 600, 0, id="the API server's clock is ahead"),
    ],
)
async def test_start_begins_with_the_first_sight_or_the_pod_before_it(
    pod: float | None, session: float, expected: float
) -> None:
    rig = await found(pod=pod, session=session)
    assert rig.operator.sessions.sight.observe(UID).waited == pytest.approx(expected, abs=0.5)


async def test_own_pod_is_not_judged_by_the_api_servers_clock() -> None:
    rig = await found(pod=None)
    await rig.settle()  # the pod that the operator makes now bears a time of long ago
    assert rig.pod() is not None
    assert rig.operator.sessions.sight.observe(UID).waited < 1


async def test_restarts_do_not_start_the_clock_anew() -> None:
    rig = await found(pod=59, start_timeout_seconds=60)
    rig.operator.sessions.tracks.begin(UID, 0).seen -= 9
    await rig.settle()
    assert rig.record() is None
    rig.operator.sessions.tracks.begin(UID, 0).seen -= 2
    rig.operator.touch_session(UID)
    await rig.settle()
    record = rig.record()
    assert record is not None
    assert record["spec"]["reason"] == "StartTimeout"


async def test_old_pod_whose_agent_waits_is_claimed() -> None:
    rig = await found(pod=600)
    rig.run_pod(**RUNNING)
    await rig.settle()
    session = rig.session()
    assert session is not None
    assert session["status"]["phase"] == "ready"


async def test_only_a_session_that_may_start_is_compared_with_the_others_of_its_account() -> None:
    rig = Rig()
    await rig.prime()
    await rig.ready()
    other = "99999999-2222-4333-8444-555555555555"
    await rig.ready("two", other)
    rig.create("three", third := "88888888-2222-4333-8444-555555555555")
    observe = rig.operator.sessions.sight.observe
    assert [observe(uid).ahead for uid in (UID, other, third)] == [0, 0, 2]


async def behind() -> Rig:
    """Return an operator that knows a ready session, but not yet its pod: watches and lists have no order."""
    rig = Rig()
    await rig.prime()
    await rig.ready()
    key = (POD.plural, BROWSERS, browser_pod_name(UID))
    stored = rig.kube.objects.pop(key)
    await rig.restart()
    rig.kube.objects[key] = stored
    return rig


async def test_pod_that_is_known_later_than_its_session_is_not_called_gone() -> None:
    rig = await behind()
    await rig.settle()
    assert rig.record() is None
    assert len(rig.operator.store.pods.group(UID)) == 1


async def test_pod_is_not_called_gone_while_nobody_can_tell() -> None:
    rig = await behind()
    rig.kube.fail("get", "pods", Unreachable("no answer"))
    await rig.settle()
    assert rig.record() is None
    assert rig.kube.faults == []


async def test_pod_that_was_seen_to_go_is_not_asked_for_again() -> None:
    rig = Rig()
    await rig.prime()
    await rig.ready()
    rig.kube.vanish(POD, BROWSERS, browser_pod_name(UID))
    rig.kube.fail("get", "pods", Unreachable("nobody should ask"))
    await rig.settle()
    assert rig.record() is not None
    assert len(rig.kube.faults) == 1


async def test_start_and_end_look_at_no_session_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(cap=100)
    await rig.prime()
    for number in range(30):
        rig.kube.put(Session.KIND, session_body(name=f"s{number}", uid=f"uid-{number}", phase="ready"))
    rig.kube.put(Session.KIND, session_body())
    looked: list[str] = []
    started = rig.operator.sessions.sight.started
    monkeypatch.setattr(
        rig.operator.sessions.sight, "started", lambda uid, session: looked.append(uid) or started(uid, session)
    )
    assert rig.operator.sessions.sight.observe(UID).ahead == 30
    rig.operator.touch_waiting()
    rig.operator.touch_waiting(NAMESPACE)
    assert set(looked) == {UID}
