"""Parts of the cluster that are gone (a namespace, a CRD) hold no session up, and cost none its browser."""

from __future__ import annotations

import pytest

from driftstack_common.kinds import Pool, Record, Session
from driftstack_common.kube.client import NAMESPACE, POD
from driftstack_common.kube.errors import Forbidden, KindGone
from tests.unit.operator.builders import NAMESPACE as ACCOUNT_NAMESPACE
from tests.unit.operator.builders import UID
from tests.unit.operator.rig import BROWSERS, Rig


def gone() -> KindGone:
    return KindGone("404 page not found", status=404)


def forbidden() -> Forbidden:
    return Forbidden("cannot delete pods in the namespace", status=403)


@pytest.fixture
async def rig() -> Rig:
    rig = Rig()
    await rig.prime()
    await rig.ready()
    return rig


async def end(rig: Rig, times: int = 1) -> None:
    await rig.kube.delete(Session.KIND, ACCOUNT_NAMESPACE, "one")
    for _ in range(times):
        rig.operator.touch_session(UID)
        await rig.settle()


async def test_session_waits_for_the_crd_of_records_but_not_for_ever(rig: Rig) -> None:
    for _ in range(3):
        rig.kube.fail("create", Record.KIND.plural, gone())
    await end(rig)
    assert rig.session() is not None, "it may come back"
    track = rig.operator.sessions.tracks.get(UID)
    assert track is not None
    assert track.no_records_since is not None
    track.no_records_since -= 60
    rig.kube.fail("get", Record.KIND.plural, gone())
    rig.operator.touch_session(UID)
    await rig.settle()
    assert rig.session() is None
    assert rig.record() is None
    assert rig.pod() is not None
    assert "deletionTimestamp" in rig.pod()["metadata"]  # type: ignore[index] # just seen


async def test_record_is_written_once_its_crd_is_back(rig: Rig) -> None:
    rig.kube.fail("create", Record.KIND.plural, gone())
    await end(rig, times=2)
    assert rig.record() is not None
    assert rig.session() is None


async def test_no_pod_is_waited_for_whose_namespace_is_gone(rig: Rig) -> None:
    rig.kube.fail("delete", POD.plural, forbidden())
    await end(rig)
    assert rig.session() is None
    assert rig.record() is not None


async def test_a_right_that_is_missing_is_no_namespace_that_is_gone(rig: Rig) -> None:
    rig.kube.put(NAMESPACE, {"metadata": {"name": BROWSERS}})
    rig.kube.fail("delete", POD.plural, forbidden())
    await end(rig)
    assert rig.session() is not None
    await end(rig)
    assert rig.session() is None


async def test_without_the_pools_namespace_a_session_waits_and_says_so() -> None:
    rig = Rig()
    rig.kube.vanish(Pool.KIND, BROWSERS, "default")
    await rig.prime()
    for _ in range(3):
        rig.kube.fail("get", Pool.KIND.plural, forbidden())
    rig.create()
    await rig.settle()
    track = rig.operator.sessions.tracks.get(UID)
    assert track is not None
    track.seen -= 61
    rig.operator.touch_session(UID)
    await rig.settle()
    record = rig.record()
    assert record is not None
    assert (record["spec"]["reason"], "BrowserPool" in record["spec"]["message"]) == ("StartTimeout", True)


async def test_a_kind_that_is_not_served_holds_up_no_other(rig: Rig) -> None:
    rig.kube.fail("list", "archetypes", gone())
    rig.kube.vanish(Session.KIND, ACCOUNT_NAMESPACE, "one")
    listings = await rig.operator.sweep.list_all()
    assert "archetypes" not in {scope.kind.plural for scope, _ in listings}
    assert "browsersessions" in {scope.kind.plural for scope, _ in listings}


async def test_browsers_outlive_a_kind_that_is_not_served(rig: Rig) -> None:
    """A new operator whose API server answers 404 for sessions must not take every pod for an orphan."""
    for _ in range(2):
        rig.kube.fail("list", Session.KIND.plural, gone())
    await rig.restart()
    for _ in range(5):
        rig.kube.fail("get", Session.KIND.plural, gone())
    rig.operator.touch_session(UID)
    await rig.settle()
    pod = rig.pod()
    assert pod is not None
    assert "deletionTimestamp" not in pod["metadata"]
