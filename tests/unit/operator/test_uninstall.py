"""Before the chart is removed: with an operator that works, and with one that doesn't."""

from __future__ import annotations

from typing import Any

import pytest

from driftstack_common.kinds import Account, Session
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import DEPLOYMENT, NAMESPACE, POD, QUOTA, Body
from driftstack_common.kube.errors import Forbidden, Invalid, KindGone
from driftstack_common.names import ACCOUNT_FINALIZER, BROWSER_NAMESPACE, QUOTA_NAME, SESSION_QUOTA
from driftstack_operator.uninstall.settings import Settings
from driftstack_operator.uninstall.steps import FACADE, OPERATOR, Uninstall
from tests.unit.operator.builders import ACCOUNT, UID
from tests.unit.operator.builders import NAMESPACE as ACCOUNT_NAMESPACE
from tests.unit.operator.rig import Rig

SYSTEM = "driftstack-system"


class Removal:
    """The hook on a rig; time passes only while it sleeps, and the operator works then if it does at all."""

    def __init__(self, rig: Rig, *, works: bool, stops: bool = True, seconds: int = 120) -> None:
        self.rig, self.works, self.stops = rig, works, stops
        self.now = 0.0
        for component in (OPERATOR, FACADE):
            rig.kube.put(
                DEPLOYMENT, {"metadata": {"name": component, "namespace": SYSTEM}, "spec": {"replicas": 1}}
            )
        self.hook = Uninstall(rig.kube, Settings(seconds=seconds), clock=lambda: self.now, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.works and self.replicas(OPERATOR):
            await self.rig.settle()
        for pod in self.rig.kube.all(POD):
            if self.stops and "deletionTimestamp" in pod["metadata"]:
                self.rig.kube.vanish(POD, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def replicas(self, component: str) -> int:
        found: int = self.rig.kube.objects[DEPLOYMENT.plural, SYSTEM, component]["spec"]["replicas"]
        return found


async def rig_with_session() -> Rig:
    rig = Rig()
    await rig.prime()
    await rig.ready()
    return rig


def account(rig: Rig) -> dict[str, list[str]]:
    found: dict[str, list[str]] = rig.kube.objects[Account.KIND.plural, "", ACCOUNT]["metadata"]
    return found


async def test_sessions_end_with_records_while_the_operator_works() -> None:
    rig = await rig_with_session()
    removal = Removal(rig, works=True)
    assert await removal.hook.run() == 0
    record = rig.record(UID)
    assert record is not None
    assert record["spec"]["reason"] == "Deleted"
    assert (removal.replicas(OPERATOR), removal.replicas(FACADE)) == (0, 0)
    assert rig.kube.all(Session.KIND) == rig.kube.all(POD) == []
    assert account(rig)["finalizers"] == []
    quota = rig.kube.objects[QUOTA.plural, ACCOUNT_NAMESPACE, QUOTA_NAME]
    assert quota["spec"]["hard"][SESSION_QUOTA] == "0"


async def test_operator_that_stalls_is_not_waited_for() -> None:
    rig = await rig_with_session()
    removal = Removal(rig, works=False)
    assert await removal.hook.run() == 1
    assert 30 < removal.now < 50
    assert rig.kube.all(Session.KIND) == rig.kube.all(POD) == []
    assert account(rig)["finalizers"] == []


async def test_no_more_than_the_set_time_is_waited() -> None:
    rig = await rig_with_session()
    removal = Removal(rig, works=False, seconds=3)
    await removal.hook.run()
    assert removal.now < 10


async def test_pods_that_do_not_go_are_forced() -> None:
    rig = await rig_with_session()
    removal = Removal(rig, works=False, stops=False)
    await removal.hook.run()
    assert rig.kube.all(POD) == []


async def test_again_after_it_was_cut_off() -> None:
    rig = await rig_with_session()
    await Removal(rig, works=True).hook.run()
    rig.kube.calls.clear()
    assert await Removal(rig, works=False).hook.run() == 0
    assert account(rig)["finalizers"] == []


async def test_deleted_account_that_nobody_removes_goes_with_its_namespace() -> None:
    rig = await rig_with_session()
    await rig.kube.delete(Account.KIND, None, ACCOUNT)
    await Removal(rig, works=False).hook.run()
    assert (Account.KIND.plural, "", ACCOUNT) not in rig.kube.objects
    assert (NAMESPACE.plural, "", ACCOUNT_NAMESPACE) not in rig.kube.objects


async def test_foreign_namespace_and_foreign_finalizers_are_left_alone() -> None:
    rig = await rig_with_session()
    session = rig.session()
    assert session is not None
    session["metadata"]["finalizers"].append("example.com/hold")
    account(rig)["finalizers"] = ["example.com/hold", ACCOUNT_FINALIZER]
    rig.kube.objects[NAMESPACE.plural, "", ACCOUNT_NAMESPACE]["metadata"]["labels"] = {}
    await rig.kube.delete(Account.KIND, None, ACCOUNT)
    await Removal(rig, works=False).hook.run()
    assert (NAMESPACE.plural, "", ACCOUNT_NAMESPACE) in rig.kube.objects
    assert account(rig)["finalizers"] == ["example.com/hold"]
    left = rig.session()
    assert left is not None
    assert left["metadata"]["finalizers"] == ["example.com/hold"]


async def test_what_is_gone_already_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await rig_with_session()
    list_objects = rig.kube.list_objects

    async def list_without_browsers(kind: Kind, namespace: str | None = None, **query: Any) -> Body:
        if namespace == BROWSER_NAMESPACE:
            raise Forbidden("no such namespace", status=403)
        return await list_objects(kind, namespace, **query)

    monkeypatch.setattr(rig.kube, "list_objects", list_without_browsers)
    removal = Removal(rig, works=False)
    for component in (OPERATOR, FACADE):
        rig.kube.vanish(DEPLOYMENT, SYSTEM, component)
    rig.kube.vanish(QUOTA, ACCOUNT_NAMESPACE, QUOTA_NAME)
    for _ in range(4):
        rig.kube.fail("list", Session.KIND.plural, KindGone("404 page not found", status=404))
    assert await removal.hook.run() == 0
    assert account(rig)["finalizers"] == []


async def test_operator_that_was_not_dead_after_all_is_no_obstacle() -> None:
    rig = await rig_with_session()
    removal = Removal(rig, works=False)
    rig.kube.fail("patch", Session.KIND.plural, Invalid("test failed", status=422))
    assert await removal.hook.run() == 1
    assert rig.kube.all(POD) == rig.kube.all(Session.KIND) == []
    assert account(rig)["finalizers"] == []
