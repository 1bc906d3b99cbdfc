"""Warm pods give way to sessions that no node has room for: which ones, how long, and never one that is taken."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftstack_common.agent_client import AgentProblem, AgentTimeout
from driftstack_common.kinds import Pool, PoolSpec, from_body
from driftstack_common.kube.client import EVENT, NODE, POD
from driftstack_common.kube.errors import Forbidden, KubeError, Unreachable
from driftstack_common.protocol import ProblemCode
from driftstack_operator.pods.nodes import read_node, suits
from driftstack_operator.pods.view import PodView
from driftstack_operator.pools.room import in_order
from driftstack_operator.sessions.sight import ONE_AT_A_TIME
from tests.unit.operator.builders import UID, Body, condition
from tests.unit.operator.rig import BROWSERS, Rig
from tests.unit.operator.test_pools import OTHER, full, name_of, pods_of, rig_of, status_of

NO_ROOM = "0/1 nodes are available: 1 Insufficient cpu."


def put_pool(rig: Rig, name: str, **spec: Any) -> None:
    template = {"image": "driftstack.local/agent:0123456789ab", "selectable": True, "maxAgeSeconds": 10**9, **spec}
    rig.kube.put(Pool.KIND, {"metadata": {"name": name, "namespace": BROWSERS}, "spec": template})


def refuse(rig: Rig, pod: Body | None, message: str = NO_ROOM) -> None:
    """The scheduler finds no node for a pod."""
    assert pod is not None
    conditions = [condition("PodScheduled", "False", "Unschedulable", message)]
    rig.kube.change(POD, BROWSERS, name_of(pod), conditions=conditions)


def place(rig: Rig, uid: str = UID) -> None:
    """The scheduler finds a node for a session's own pod, and the kubelet starts it."""
    rig.run_pod(uid, conditions=[condition("PodScheduled", "True")])


def left(rig: Rig, pool: str = "default") -> list[str]:
    """Return the names of the pool's warm pods that nobody has removed."""
    return [
        name_of(pod)
        for pod in rig.warm_pods()
        if "deletionTimestamp" not in pod["metadata"] and pod["metadata"]["labels"]["driftstack.dev/pool"] == pool
    ]


def later(rig: Rig, *uids: str) -> None:
    """The scheduler has had the time to try again."""
    for uid in uids or (UID,):
        track = rig.operator.sessions.tracks.get(uid)
        assert track is not None
        track.gave_way_at -= ONE_AT_A_TIME


def stop_pods(rig: Rig) -> None:
    """The kubelet has stopped what is being deleted."""
    for pod in [pod for pod in rig.kube.all(POD) if "deletionTimestamp" in pod["metadata"]]:
        rig.kube.vanish(POD, BROWSERS, name_of(pod))


async def crowded(replicas: int = 3, **values: Any) -> Rig:
    """Return a cluster full of warm pods, and a session of another pool whose pod finds no room."""
    rig = await full(replicas, refill_patience_seconds=0, **values)
    put_pool(rig, "open")
    rig.create(spec={"pool": "open"})
    await rig.settle()
    refuse(rig, rig.pod())
    await rig.settle()
    return rig


async def test_one_warm_pod_gives_way_and_says_why() -> None:
    rig = await crowded()
    assert len(left(rig)) == 2
    await rig.tell_pools()
    (told,) = rig.pool()["status"]["conditions"]
    assert (told["status"], told["reason"]) == ("False", "GaveWay")
    assert NO_ROOM in told["message"]
    (event,) = [each for each in rig.kube.all(EVENT) if each["reason"] == "GaveWay"]
    assert event["involvedObject"]["kind"] == "BrowserPool"
    assert event["involvedObject"]["uid"] == rig.pool()["metadata"]["uid"]
    assert "acct-acme/one" in event["message"]
    assert NO_ROOM in event["message"]
    counted = rig.operator.metrics.registry.get_sample_value
    labels = {"pool": "default", "cause": "gave-way"}
    assert counted("driftstack_pool_pods_removed_total", labels) == 1


async def test_no_other_gives_way_before_the_scheduler_has_tried_again() -> None:
    rig = await crowded()
    for _ in range(5):
        await rig.sweep_all()
    later(rig)
    await rig.sweep_all()
    assert len(left(rig)) == 2, "it is not gone yet"
    stop_pods(rig)
    await rig.sweep_all()
    assert len(left(rig)) == 2, "it has just gone"
    later(rig)
    await rig.sweep_all()
    assert len(left(rig)) == 1


async def test_pool_is_full_again_once_the_session_has_its_room() -> None:
    rig = await crowded()
    stop_pods(rig)
    rig.kube.calls.clear()
    for _ in range(5):
        await rig.sweep_all()
    assert rig.writes() == [], "nothing takes the room that was made"
    place(rig)
    await rig.settle()
    assert status_of(rig)["pool"] == "miss"
    await rig.sweep_all()
    await rig.warm()
    assert len(left(rig)) == 3
    await rig.tell_pools()
    assert rig.pool()["status"]["conditions"][0]["status"] == "True"


async def test_pool_is_full_again_though_the_session_has_given_up() -> None:
    rig = await crowded()
    stop_pods(rig)
    track = rig.operator.sessions.tracks.get(UID)
    assert track is not None
    track.seen -= 31
    await rig.sweep_all()
    record = rig.record()
    assert record is not None
    assert record["spec"]["reason"] == "Unschedulable"
    stop_pods(rig)
    await rig.sweep_all()
    await rig.warm()
    assert len(left(rig)) == 3


async def test_those_that_wait_for_a_node_all_go() -> None:
    rig = rig_of(4)
    await rig.prime()
    await rig.settle()
    rig.run_warm_pods()
    await rig.settle()
    for pod in rig.warm_pods():
        if not pod["spec"].get("nodeName"):
            refuse(rig, pod)
    waiting = [name_of(pod) for pod in rig.warm_pods() if not pod["spec"].get("nodeName")]
    assert len(waiting) == 2
    put_pool(rig, "open")
    rig.create(spec={"pool": "open"})
    await rig.settle()
    refuse(rig, rig.pod())
    await rig.settle()
    assert not set(waiting) & set(left(rig))
    assert len(left(rig)) == 1


async def test_sessions_make_room_each_for_itself() -> None:
    rig = await full(3)
    put_pool(rig, "open")
    for name, uid in (("one", UID), ("two", OTHER)):
        rig.create(name, uid, spec={"pool": "open"})
    await rig.settle()
    for uid in (UID, OTHER):
        refuse(rig, rig.pod(uid))
    await rig.settle()
    assert len(left(rig)) == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
        ({"nodeSelector": {"disk": "fast"}}, NO_ROOM),
        ({"resources": {"requests": {"memory": "64Gi"}}}, NO_ROOM),
    ],
)
async def test_nothing_gives_way_where_that_does_not_help(spec: dict[str, Any], message: str) -> None:
    rig = await full(2, refill_patience_seconds=0)
    rig.kube.change(NODE, None, "local", allocatable={"cpu": "2", "memory": "4039404Ki"})
    put_pool(rig, "open", **spec)
    rig.create(spec={"pool": "open"})
    await rig.settle()
    refuse(rig, rig.pod(), message)
    await rig.settle()
    await rig.sweep_all()
    assert len(left(rig)) == 2
    rig.change_pool(replicas=3)
    await rig.settle()
    assert len(left(rig)) == 3, "nor does a refill wait"


async def test_only_on_nodes_that_the_session_may_have() -> None:
    rig = await full(2)
    rig.kube.put(NODE, {"metadata": {"name": "spare", "labels": {"disk": "fast"}}, "status": {}})
    put_pool(rig, "open", nodeSelector={"disk": "fast"})
    rig.create(spec={"pool": "open"})
    await rig.settle()
    refuse(rig, rig.pod())
    await rig.settle()
    assert len(left(rig)) == 2


async def test_other_nodes_are_none_of_its_business() -> None:
    rig = await full(1, refill_patience_seconds=0)
    for name in ("fast", "slow"):
        rig.kube.put(NODE, {"metadata": {"name": name, "labels": {"disk": name}}, "status": {}})
    put_pool(rig, "open", nodeSelector={"disk": "fast"})
    rig.create(spec={"pool": "open"})
    await rig.settle()
    refuse(rig, rig.pod())
    put_pool(rig, "third", nodeSelector={"disk": "slow"}, replicas=1)
    await rig.settle()
    (pod,) = left(rig, "third")
    refuse(rig, rig.kube.objects[(POD.plural, BROWSERS, pod)])
    later(rig)
    await rig.sweep_all()
    assert left(rig, "third") == [pod]


async def test_pod_that_could_not_be_removed_is_warm_again() -> None:
    rig = await full(1)
    put_pool(rig, "open")
    rig.create(spec={"pool": "open"})
    await rig.settle()
    rig.kube.fail("delete", "pods", KubeError("etcdserver: leader changed", status=500))
    refuse(rig, rig.pod())
    await rig.settle()
    place(rig)
    rig.create("two", OTHER)
    await rig.settle()
    assert status_of(rig, "two")["pool"] == "hit"


async def test_agent_of_a_pod_that_goes_is_not_asked() -> None:
    rig = await full(1)
    put_pool(rig, "open")
    rig.create(spec={"pool": "open"})
    await rig.settle()
    pools, offered = rig.operator.pools, []
    kube = pools._pods._kube
    delete = kube.delete

    async def delete_meanwhile(*args: Any, **more: Any) -> Body:
        await pools.reconcile("default")
        await pools._pool_agents.wait(1)
        offered.append(pools.index.pick("default"))
        return await delete(*args, **more)

    kube.delete = delete_meanwhile  # type: ignore[method-assign]
    refuse(rig, rig.pod())
    await rig.settle()
    assert offered == [None]


async def alone(message: str = NO_ROOM, **values: Any) -> Rig:
    """Return a cluster where a session found its pool empty, and its own pod no room; a refill was under way."""
    rig = rig_of(1, **values)
    await rig.prime()
    await rig.settle()
    rig.create()
    await rig.settle()
    refuse(rig, rig.pod(), message)
    return rig


async def test_session_gets_the_pod_of_its_pool_whatever_keeps_its_own_from_nodes() -> None:
    rig = await alone("0/1 nodes are available: 1 node(s) were unschedulable.")
    await rig.settle()
    rig.run_warm_pods()
    await rig.settle()
    assert status_of(rig)["pool"] == "hit"


async def test_session_gets_the_pod_of_its_pool_that_becomes_warm() -> None:
    rig = await alone()
    rig.run_warm_pods()
    await rig.settle()
    assert status_of(rig)["pool"] == "hit"
    stop_pods(rig)
    await rig.sweep_all()
    assert rig.pod() is None, "its own is gone"
    assert status_of(rig)["phase"] == "ready"
    assert len(pods_of(rig, UID)) == 1


async def test_warm_pod_that_refuses_such_a_session_is_not_its_end() -> None:
    rig = await alone()
    rig.run_warm_pods()
    rig.agents.claim = partial(_refused, rig.agents.claim)  # type: ignore[method-assign]
    await rig.settle()
    stop_pods(rig)
    await rig.settle()
    assert rig.record() is None
    place(rig)
    await rig.settle()
    assert status_of(rig)["pool"] == "miss", "one of its own again"


async def _refused(claim: Any, address: str, *rest: Any, **more: Any) -> Any:
    if address.startswith("10.1."):
        raise AgentProblem(ProblemCode.HOLDER_CONFLICT, "claimed by another")
    return await claim(address, *rest, **more)


def place_too_late(rig: Rig) -> None:
    """The scheduler finds a node for the session's own pod after all, while the session takes a warm one."""
    kube = rig.operator.sessions._kube
    patch = kube.json_patch

    async def patch_meanwhile(*args: Any) -> Body:
        place(rig)
        return await patch(*args)

    kube.json_patch = patch_meanwhile  # type: ignore[method-assign]


@pytest.mark.parametrize("first", ["browser-", "warm-"])
async def test_own_pod_that_was_given_up_is_not_its_end(first: str) -> None:
    rig = await alone()
    place_too_late(rig)
    rig.run_warm_pods()
    rig.agents.claim = partial(_refused, rig.agents.claim)  # type: ignore[method-assign]
    await rig.settle()
    going = sorted(pods_of(rig, UID), key=lambda pod: not name_of(pod).startswith(first))
    assert len(going) == 2
    assert all("deletionTimestamp" in pod["metadata"] for pod in going)
    await rig.sweep_all()
    for pod in going:
        rig.kube.vanish(POD, BROWSERS, name_of(pod))
        await rig.sweep_all()
    assert rig.record() is None
    place(rig)
    await rig.settle()
    assert status_of(rig)["pool"] == "miss", "one of its own again"


async def test_own_pod_that_was_given_up_and_never_goes() -> None:
    rig = await alone()
    place_too_late(rig)
    rig.run_warm_pods()
    rig.agents.claim = partial(_refused, rig.agents.claim)  # type: ignore[method-assign]
    await rig.settle()
    track = rig.operator.sessions.tracks.get(UID)
    assert track is not None
    track.seen -= 31
    await rig.sweep_all()
    record = rig.record()
    assert record is not None
    assert record["spec"]["reason"] == "StartFailed"


async def test_next_leader_goes_on_with_the_pod_that_was_taken() -> None:
    rig = await alone()
    place_too_late(rig)
    rig.agents.claim, claim = partial(_late, rig.agents.claim), rig.agents.claim  # type: ignore[method-assign]
    rig.run_warm_pods()
    await rig.settle()
    assert len(pods_of(rig, UID)) == 2
    rig.agents.claim = claim  # type: ignore[method-assign]
    await rig.restart()
    await rig.settle()
    assert status_of(rig)["pool"] == "hit"


@pytest.mark.parametrize("after", [True, False])
async def test_pod_that_is_kept_for_it_and_its_own_are_never_mixed_up(after: bool) -> None:
    rig = await alone()
    rig.kube.fail("patch", "pods", Unreachable("no answer"), after=after)
    rig.wire = lambda *_: None
    rig.run_warm_pods()
    rig.wire = lambda deliver, *message: deliver(*message)
    await rig.operator.sweep.list_all()
    await rig.settle()
    place(rig)
    await rig.settle()
    await rig.sweep_all()
    browser = status_of(rig)["browser"]
    assert rig.agents.holders[browser["address"]] == UID
    (pod,) = [pod for pod in pods_of(rig, UID) if "deletionTimestamp" not in pod["metadata"]]
    assert name_of(pod) == browser["pod"]


@pytest.mark.parametrize("answers", [True, False])
async def test_session_that_may_not_have_a_warm_pod_keeps_its_own(answers: bool) -> None:
    rig = await alone()
    rig.kube.fail("patch", "pods", Forbidden("a policy", status=403))
    rig.run_warm_pods()
    if not answers:
        claim = rig.agents.claim
        rig.agents.claim = partial(_late, claim)  # type: ignore[method-assign]
    await rig.settle()
    place(rig)
    await rig.sweep_all()
    assert status_of(rig)["pool"] == "miss"
    assert rig.agents.holders[status_of(rig)["browser"]["address"]] == UID


async def _late(claim: Any, address: str, *rest: Any, **more: Any) -> Any:
    if address.startswith("10.1."):
        raise AgentTimeout("late")
    return await claim(address, *rest, **more)


async def test_next_leader_goes_on_with_the_pod_that_has_a_node() -> None:
    rig = await alone()
    for _ in range(20):
        rig.kube.fail("delete", "pods", KubeError("etcdserver: leader changed", status=500))
    rig.run_warm_pods()
    await rig.settle()
    assert {pod["spec"].get("nodeName") for pod in pods_of(rig, UID)} == {"local", None}, "it died in between"
    rig.kube.faults.clear()
    await rig.restart()
    await rig.settle()
    assert status_of(rig)["pool"] == "hit"
    assert rig.pod() is None


async def test_pod_that_is_taken_meanwhile_stays() -> None:
    """Two sessions: one takes the pod that is about to give way to the other."""
    rig = await full(1)
    put_pool(rig, "open")
    rig.create("two", OTHER, spec={"pool": "open"})
    await rig.settle()
    refuse(rig, rig.pod(OTHER))
    rig.create()
    await rig.operator.queue.work_on(("session", UID))
    await rig.settle()
    assert status_of(rig)["phase"] == "ready"
    await rig.sweep_all()
    later(rig, OTHER)
    await rig.sweep_all()
    assert all("deletionTimestamp" not in pod["metadata"] for pod in pods_of(rig, UID))


async def test_pod_is_not_removed_while_its_session_is_being_written() -> None:
    rig = await full(1)
    put_pool(rig, "open")
    rig.create("two", OTHER, spec={"pool": "open"})
    await rig.settle()
    own = rig.operator.store.pods.get(BROWSERS, f"browser-{OTHER}")
    assert own is not None
    lacking = msgspec.structs.replace(own, unschedulable=NO_ROOM)
    kube, gone = rig.operator.sessions._kube, []
    patch = kube.json_patch

    async def patch_meanwhile(*args: Any) -> Body:
        gone.append(await rig.operator.pools.make_room(lacking, ""))
        return await patch(*args)

    kube.json_patch = patch_meanwhile  # type: ignore[method-assign]
    rig.create()
    await rig.settle()
    assert gone == [None]
    assert status_of(rig)["pool"] == "hit"


async def test_pod_that_another_leader_gave_away_is_not_removed() -> None:
    rig = await full(1)
    put_pool(rig, "open")
    rig.wire = lambda deliver, plural, *rest: None if plural == "pods" else deliver(plural, *rest)
    (warm,) = rig.warm_pods()
    rig.kube.change(POD, BROWSERS, name_of(warm))  # not seen, as all that comes
    rig.create("two", OTHER, spec={"pool": "open"})
    await rig.settle()
    own = rig.operator.store.pods.get(BROWSERS, f"browser-{OTHER}")
    assert own is not None
    assert await rig.operator.pools.make_room(msgspec.structs.replace(own, unschedulable=NO_ROOM), "") is None
    assert "deletionTimestamp" not in warm["metadata"]


WAITING = st.lists(
    st.builds(
        lambda number, pool, node: PodView(
            name=f"warm-{number}", namespace=BROWSERS, uid=f"{number}", pool=pool, node=node
        ),
        st.integers(0, 99),
        st.sampled_from(["default", "open", "third"]),
        st.sampled_from(["", "n1", "n2"]),
    ),
    unique_by=lambda pod: pod.uid,
)


@given(waiting=WAITING, ready=st.sets(st.integers(0, 99).map(str)), near=st.sampled_from(["", "n1"]))
def test_order(waiting: list[PodView], ready: set[str], near: str) -> None:
    ordered = in_order(waiting, ready, "open", near)
    assert all(pod.pool != "open" for pod in ordered if pod.node), (
        "the session gets its own pool's when they are warm"
    )
    homeless = [pod for pod in ordered if not pod.node]
    assert ordered[: len(homeless)] == homeless
    on_nodes = ordered[len(homeless) :]
    if near and any(pod.node == near for pod in on_nodes):
        assert on_nodes[0].node == near
    elif any(pod.uid not in ready for pod in on_nodes):
        assert on_nodes[0].uid not in ready


@pytest.mark.parametrize(
    ("pool", "node", "expected"),
    [
        ({}, {}, True),
        ({"nodeSelector": {"a": "1"}}, {"labels": {"a": "1", "b": "2"}}, True),
        ({"nodeSelector": {"a": "1"}}, {"labels": {"a": "2"}}, False),
        ({}, {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}, False),
        ({}, {"taints": [{"key": "gpu", "effect": "PreferNoSchedule"}]}, True),
        ({"tolerations": [{"operator": "Exists"}]}, {"taints": [{"key": "gpu", "effect": "NoExecute"}]}, True),
        (
            {"tolerations": [{"key": "gpu", "value": "old"}]},
            {"taints": [{"key": "gpu", "value": "new", "effect": "NoSchedule"}]},
            False,
        ),
        (
            {"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}]},
            {"taints": [{"key": "gpu", "effect": "NoSchedule"}]},
            False,
        ),
        ({"resources": {"requests": {"cpu": "1500m"}}}, {"allocatable": {"cpu": "2"}}, True),
        ({"resources": {"requests": {"cpu": "2.5"}}}, {"allocatable": {"cpu": "2500m"}}, True),
        ({"resources": {"requests": {"cpu": "3"}}}, {"allocatable": {"cpu": "2"}}, False),
        ({"resources": {"requests": {"memory": "2Gi"}}}, {"allocatable": {"memory": "2097151Ki"}}, False),
        ({"resources": {"requests": {"memory": "2G"}}}, {"allocatable": {"memory": "2000000000"}}, True),
    ],
)
def test_suits(pool: dict[str, Any], node: dict[str, Any], expected: bool) -> None:
    body = {
        "metadata": {"name": "n1", "labels": node.get("labels")},
        "spec": {"taints": node.get("taints")},
        "status": {"allocatable": node.get("allocatable")},
    }
    spec: PoolSpec = from_body(Pool, {"metadata": {"name": "p"}, "spec": {"image": "i", **pool}}).spec
    assert suits(read_node(body), spec) is expected
