"""A pool's life with the operator: filled, claimed, refilled, renewed; and every way a claim can go half."""

from __future__ import annotations

from typing import Any

import pytest

from driftstack_common.agent_client import AgentProblem, AgentUnreachable
from driftstack_common.kinds import Archetype, Pool, Session
from driftstack_common.kube.client import NODE, POD
from driftstack_common.kube.errors import Conflict, Forbidden, Invalid, KubeError, Unreachable
from driftstack_common.names import LABEL_SESSION, LABEL_STATE
from driftstack_common.protocol import ProblemCode
from driftstack_operator.pools.memory import SETTLED
from tests.unit.operator import builders
from tests.unit.operator.builders import NAMESPACE, UID, Body, archetype_body, ended, waiting
from tests.unit.operator.rig import BROWSERS, Rig

OTHER = "22222222-2222-4333-8444-555555555555"


def rig_of(replicas: int, **values: Any) -> Rig:
    return Rig(pool={"replicas": replicas}, **values)


async def full(replicas: int, **values: Any) -> Rig:
    rig = rig_of(replicas, **values)
    await rig.prime()
    await rig.warm()
    return rig


def name_of(pod: Body) -> str:
    return str(pod["metadata"]["name"])


def pods_of(rig: Rig, uid: str) -> list[Body]:
    return [pod for pod in rig.kube.all(POD) if pod["metadata"]["labels"].get(LABEL_SESSION) == uid]


def status_of(rig: Rig, name: str = "one") -> dict[str, Any]:
    session = rig.session(name)
    assert session is not None
    return dict(session["status"])


async def test_pool_is_filled_and_says_so() -> None:
    rig = await full(2)
    pods = rig.warm_pods()
    assert len(pods) == 2
    assert all(pod["metadata"]["ownerReferences"][0]["uid"] == rig.pool()["metadata"]["uid"] for pod in pods)
    assert rig.pool()["status"]["selector"] == "driftstack.dev/pool=default,driftstack.dev/state=warm"


async def test_session_gets_a_warm_pod_that_is_no_longer_the_pools() -> None:
    rig = await full(2)
    first = rig.operator.pools.index.pick("default")
    assert first is not None
    rig.create()
    await rig.settle()
    assert status_of(rig)["phase"] == "ready"
    assert status_of(rig)["pool"] == "hit"
    assert status_of(rig)["browser"]["pod"] == first.name
    (pod,) = pods_of(rig, UID)
    assert pod["metadata"]["ownerReferences"] == []
    assert pod["metadata"]["labels"][LABEL_STATE] == "claimed"
    assert pod["metadata"]["annotations"]["driftstack.dev/session-ref"] == f"{NAMESPACE}/one"
    assert [claim.session for _, _, claim in rig.agents.claimed] == [UID]


async def test_warm_pods_show_the_device_that_was_wanted_last() -> None:
    rig = await full(1)
    usual = set(rig.agents.prepared.values())
    assert [device.viewport.width for device in usual] == [1280], "the catalogue's default"
    archetype = archetype_body("phone")
    archetype["spec"]["device"] = {"viewport": {"width": 390, "height": 844}}
    rig.kube.put(Archetype.KIND, archetype)
    rig.create(spec={"archetype": "phone"})
    await rig.warm()
    (next_one,) = rig.warm_pods()
    assert rig.agents.prepared[next_one["status"]["podIP"] + ":8300"].viewport.width == 390


async def test_agents_from_before_an_upgrade_are_only_asked() -> None:
    rig = rig_of(1)

    async def prepare(*_: Any, **__: Any) -> str | None:
        raise AgentProblem(ProblemCode.NOT_FOUND, "there is no POST /prepare")

    rig.agents.prepare = prepare  # type: ignore[method-assign]
    await rig.prime()
    await rig.warm()
    rig.create()
    await rig.settle()
    assert status_of(rig)["pool"] == "hit"


async def test_warm_start_costs_a_patch_a_status_and_its_replacement() -> None:
    rig = await full(1)
    rig.kube.calls.clear()
    rig.create()
    await rig.settle()
    assert rig.writes() == [("patch", "pods"), ("patch", "browsersessions"), ("create", "pods")]


async def test_empty_pool_starts_cold() -> None:
    rig = await full(1)
    rig.create("one", UID)
    rig.create("two", OTHER)
    await rig.settle()
    assert rig.pod(OTHER) is not None, "a pod of its own"
    rig.run_pod(OTHER)
    await rig.settle()
    assert {status_of(rig, name)["pool"] for name in ("one", "two")} == {"hit", "miss"}


async def test_pod_that_an_agent_gave_to_another_is_left_for_the_next() -> None:
    rig = await full(2)
    first = rig.operator.pools.index.pick("default")
    assert first is not None
    address, left = first.address, first.name
    answer = rig.agents.claim

    async def claim(where: str, token: str, claim: Any, **rest: Any) -> Any:
        if where == address:
            raise AgentProblem(ProblemCode.HOLDER_CONFLICT, "claimed by another")
        return await answer(where, token, claim, **rest)

    rig.agents.claim = claim  # type: ignore[method-assign]
    rig.create()
    await rig.settle()
    assert status_of(rig)["phase"] == "ready"
    assert status_of(rig)["browser"]["pod"] != left
    assert "deletionTimestamp" in rig.kube.objects[(POD.plural, BROWSERS, left)]["metadata"]
    rig.kube.vanish(POD, BROWSERS, left)
    await rig.settle()
    assert status_of(rig)["phase"] == "ready", "the end of a pod that was left is not the session's"


async def test_pod_that_dies_while_it_is_taken_costs_no_session() -> None:
    rig = await full(1)
    rig.agents.problem = AgentUnreachable("refused", sent=False)
    rig.create()
    await rig.settle()
    (pod,) = pods_of(rig, UID)
    rig.agents.problem = None
    rig.kube.change(
        POD,
        BROWSERS,
        name_of(pod),
        phase="Failed",
        containerStatuses=[{"name": "browser", "state": ended("browser-crashed")}],
    )
    await rig.settle()
    assert rig.pod(UID) is not None
    rig.run_pod()
    await rig.settle()
    assert status_of(rig)["pool"] == "miss"


async def test_what_an_agent_said_counts_for_its_pod_alone() -> None:
    rig = await full(1)
    rig.kube.fail("patch", "browsersessions", Conflict("changed", status=409))
    rig.create()
    await rig.settle()
    (pod,) = pods_of(rig, UID)
    await rig.kube.delete(POD, BROWSERS, name_of(pod))
    await rig.settle()
    assert rig.pod(UID) is not None, "a pod of its own instead"
    assert status_of(rig)["phase"] == "creating", "nobody has asked its agent yet"
    rig.run_pod()
    await rig.settle()
    assert status_of(rig)["browser"]["pod"] == f"browser-{UID}"


async def test_patch_without_answer_is_tried_again_on_the_same_pod() -> None:
    rig = await full(2)
    rig.kube.fail("patch", "pods", Unreachable("no answer"), after=True)
    rig.create()
    await rig.settle()
    await rig.sweep_all()
    assert status_of(rig)["pool"] == "hit"
    assert len(pods_of(rig, UID)) == 1
    assert len({address for address, _, _ in rig.agents.claimed}) == 1


async def test_pod_that_is_deleted_meanwhile_is_not_taken() -> None:
    rig = await full(2)
    picked = rig.operator.pools.index.pick("default")
    assert picked is not None
    first = rig.kube.objects[(POD.plural, BROWSERS, picked.name)]
    # The watch has not brought it yet.
    first["metadata"]["deletionTimestamp"] = "2026-05-12T13:00:00Z"
    rig.create()
    await rig.settle()
    assert status_of(rig)["pool"] == "hit"
    assert status_of(rig)["browser"]["pod"] != name_of(first)


async def test_half_a_claim_is_finished_by_the_next_leader() -> None:
    rig = await full(1)
    address = rig.warm_pods()[0]["status"]["podIP"] + ":8300"
    rig.agents.holders[address] = UID
    rig.wire = lambda *_: None  # the old leader sees nothing of it any more
    rig.create()
    rig.wire = lambda deliver, *message: deliver(*message)
    await rig.restart()
    await rig.operator.pools.ask_all()
    await rig.settle()
    assert status_of(rig)["pool"] == "hit"
    assert [pod["status"]["podIP"] + ":8300" for pod in pods_of(rig, UID)] == [address]


async def test_pod_that_a_gone_session_holds_is_removed() -> None:
    rig = await full(1)
    (pod,) = rig.warm_pods()
    rig.agents.holders[pod["status"]["podIP"] + ":8300"] = OTHER
    await rig.restart()
    await rig.settle()
    assert "deletionTimestamp" in pod["metadata"]


async def test_scaling_down_removes_pods_and_up_adds_them() -> None:
    rig = await full(3)
    rig.change_pool(replicas=1)
    await rig.settle()
    assert sum("deletionTimestamp" not in pod["metadata"] for pod in rig.warm_pods()) == 1
    rig.change_pool(replicas=2)
    await rig.warm()
    assert sum("deletionTimestamp" not in pod["metadata"] for pod in rig.warm_pods()) == 2


async def test_deleting_the_pool_removes_its_warm_pods_and_no_live_session() -> None:
    rig = await full(2)
    rig.create()
    await rig.settle()
    rig.kube.vanish(Pool.KIND, BROWSERS, "default")
    await rig.settle()
    assert all("deletionTimestamp" in pod["metadata"] for pod in rig.warm_pods())
    assert status_of(rig)["phase"] == "ready"
    (pod,) = pods_of(rig, UID)
    assert "deletionTimestamp" not in pod["metadata"]


async def test_outdated_pods_are_replaced_one_after_the_other() -> None:
    rig = await full(2)
    old = {name_of(pod) for pod in rig.warm_pods()}
    rig.change_pool(image="driftstack.local/agent:new")
    await rig.settle()
    alive = [name_of(pod) for pod in rig.warm_pods() if "deletionTimestamp" not in pod["metadata"]]
    assert old < set(alive)
    assert len(alive) == 3, "old ones go when new ones are warm"
    for _ in range(3):
        await rig.warm()
    alive = [name_of(pod) for pod in rig.warm_pods() if "deletionTimestamp" not in pod["metadata"]]
    assert len(alive) == 2
    assert not old & set(alive)


async def test_outdated_pods_make_room_for_their_replacements_one_after_the_other() -> None:
    rig = await full(3)
    rig.change_pool(image="driftstack.local/agent:new")
    await rig.settle()
    (new,) = [pod for pod in rig.warm_pods() if not pod["spec"].get("nodeName")]
    conditions = [builders.condition("PodScheduled", "False", "Unschedulable", "0/1 nodes: 1 Insufficient cpu")]
    rig.kube.change(POD, BROWSERS, name_of(new), conditions=conditions)
    for _ in range(2):
        await rig.sweep_all()
        (going,) = [pod for pod in rig.warm_pods() if "deletionTimestamp" in pod["metadata"]]
        rig.kube.vanish(POD, BROWSERS, name_of(going))
        await rig.sweep_all()
        assert not any("deletionTimestamp" in pod["metadata"] for pod in rig.warm_pods()), "one has just gone"
        rig.operator.pools.memories._memories["default"]._went_at -= SETTLED
    assert len(rig.warm_pods()) == 2


async def test_image_that_cannot_be_pulled_is_told_and_not_tried_in_a_loop() -> None:
    rig = rig_of(3)
    await rig.prime()
    await rig.settle()
    for pod in rig.warm_pods():
        state = [{"name": "browser", "state": waiting("ImagePullBackOff", "no such image")}]
        rig.kube.change(POD, BROWSERS, name_of(pod), containerStatuses=state)
    for _ in range(5):
        await rig.settle()
    assert len(rig.warm_pods()) == 2
    await rig.tell_pools()
    (condition,) = rig.pool()["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "ImageUnavailable")
    assert "no such image" in condition["message"]


async def test_pods_that_end_are_removed_and_replaced_after_a_while() -> None:
    rig = await full(1)
    (pod,) = rig.warm_pods()
    rig.kube.change(
        POD,
        BROWSERS,
        name_of(pod),
        phase="Failed",
        containerStatuses=[{"name": "browser", "state": ended("browser-crashed")}],
    )
    await rig.settle()
    assert "deletionTimestamp" in pod["metadata"]
    assert len(rig.warm_pods()) == 1, "not at once"
    await rig.tell_pools()
    assert rig.pool()["status"]["conditions"][0]["reason"] == "BrowserCrashed"
    rig.operator.pools.memories._memories["default"].blocked_until = 0
    await rig.sweep_all()
    assert len(rig.warm_pods()) == 2


async def test_refused_pods_are_told() -> None:
    rig = rig_of(1)
    rig.kube.fail("create", "pods", Forbidden("exceeded quota: browsers", status=403))
    await rig.prime()
    await rig.settle()
    await rig.tell_pools()
    assert "exceeded quota" in rig.pool()["status"]["conditions"][0]["message"]


async def test_nothing_is_picked_on_a_silent_node() -> None:
    rig = await full(1, node_patience_seconds=1000)
    rig.kube.change(NODE, None, "local", conditions=[{"type": "Ready", "status": "Unknown"}])
    rig.create()
    await rig.settle()
    assert rig.pod(UID) is not None, "a cold start"


async def test_sessions_choose_among_selectable_pools() -> None:
    rig = await full(1)
    for name, selectable in (("open", True), ("closed", False)):
        spec = {"image": "driftstack.local/agent:0123456789ab", "selectable": selectable}
        rig.kube.put(Pool.KIND, {"metadata": {"name": name, "namespace": BROWSERS}, "spec": spec})
    rig.create("one", UID, spec={"pool": "open"})
    rig.create("two", OTHER, spec={"pool": "closed"})
    await rig.settle()
    pod = rig.pod(UID)
    assert pod is not None
    assert pod["metadata"]["labels"]["driftstack.dev/pool"] == "open"
    record = rig.record(OTHER)
    assert record is not None
    assert record["spec"]["reason"] == "UnknownPool"


async def test_catalogue_archetypes_may_name_any_pool() -> None:
    rig = await full(1)
    spec = {"image": "driftstack.local/agent:0123456789ab", "replicas": 1}
    rig.kube.put(Pool.KIND, {"metadata": {"name": "phones", "namespace": BROWSERS}, "spec": spec})
    archetype = next(body for (plural, *_), body in rig.kube.objects.items() if plural == "archetypes")
    archetype["spec"]["pool"] = "phones"
    await rig.restart()
    await rig.warm()
    rig.create()
    await rig.settle()
    assert status_of(rig)["pool"] == "hit"
    (pod,) = pods_of(rig, UID)
    assert pod["metadata"]["labels"]["driftstack.dev/pool"] == "phones"


@pytest.mark.parametrize("when", ["while it is taken", "when it has it"])
async def test_deleted_session_leaves_no_pod(when: str) -> None:
    rig = await full(1)
    if when == "while it is taken":
        rig.agents.problem = AgentUnreachable("refused", sent=False)
    rig.create()
    await rig.settle()
    (pod,) = pods_of(rig, UID)
    await rig.kube.delete(Session.KIND, NAMESPACE, "one")
    await rig.settle()
    assert rig.session() is None
    assert "deletionTimestamp" in pod["metadata"]
    await rig.operator.close()


async def test_start_is_over_though_the_answer_that_says_so_was_lost() -> None:
    rig = await full(1)
    rig.kube.fail("patch", "browsersessions", Unreachable("no answer"), after=True)
    rig.create()
    await rig.settle()
    await rig.sweep_all()
    assert status_of(rig)["phase"] == "ready"
    assert rig.operator.pools.starts.quiet_for() >= 0, "a refill would wait for it as long as the session lives"


async def test_pod_whose_image_took_long_to_pull_is_given_the_time_to_answer() -> None:
    rig = rig_of(1)
    await rig.prime()
    await rig.settle()
    (pod,) = rig.warm_pods()
    memory = rig.operator.pools.memories._memories["default"]
    memory._began[name_of(pod)] -= 3600
    rig.agents.problem = AgentUnreachable("refused", sent=False)
    rig.run_warm_pods()
    await rig.settle()
    assert "deletionTimestamp" not in pod["metadata"], "it has just begun to run"
    memory._ran[name_of(pod)] -= 61
    await rig.sweep_all()
    assert "deletionTimestamp" in pod["metadata"]
    await rig.operator.close()


@pytest.mark.parametrize(
    "refusal",
    [
        Forbidden("admission webhook denied the request", status=403),
        Invalid("ValidatingAdmissionPolicy denied the request", status=422),
        KubeError("failed calling webhook", status=500),
    ],
)
async def test_session_that_may_not_have_a_warm_pod_starts_cold(refusal: KubeError) -> None:
    rig = await full(2)
    for _ in range(20):
        rig.kube.fail("patch", "pods", refusal)
    rig.create()
    await rig.settle()
    await rig.sweep_all()
    assert rig.pod(UID) is not None
    rig.run_pod()
    await rig.sweep_all()
    assert status_of(rig)["pool"] == "miss"
    await rig.sweep_all()
    held = [
        pod for pod in rig.warm_pods() if rig.agents.holders.get(pod["status"].get("podIP", "") + ":8300") == UID
    ]
    assert len(held) <= 1, "the next one is not asked"
    assert all("deletionTimestamp" in pod["metadata"] for pod in held), "nobody else can have it"


async def test_pod_that_somebody_removes_leaves_the_line() -> None:
    rig = await full(2)
    gone = rig.warm_pods()[1]
    rig.kube.vanish(POD, BROWSERS, name_of(gone))
    await rig.settle()
    assert not rig.operator.pools.index.offered(gone["metadata"]["uid"])


@pytest.mark.parametrize("after", [True, False])
async def test_pod_whose_creation_has_no_answer_is_made_once(after: bool) -> None:
    rig = rig_of(2)
    rig.kube.fail("create", "pods", Unreachable("no answer"), after=after)
    rig.wire = lambda deliver, plural, *rest: None if plural == "pods" else deliver(plural, *rest)
    await rig.prime()
    await rig.settle()
    rig.operator.touch_pool("default")
    await rig.settle()
    assert len(rig.warm_pods()) == 2
    started = rig.operator.metrics.registry.get_sample_value(
        "driftstack_pool_pods_started_total", {"pool": "default"}
    )
    assert started == 2


@pytest.mark.parametrize("warm", [1, 0])
async def test_start_is_counted_once_though_its_answer_was_lost(warm: int) -> None:
    rig = await full(warm)
    rig.kube.fail("patch", "browsersessions", Unreachable("no answer"), after=True)
    rig.create()
    await rig.settle()
    if not warm:
        rig.run_pod()
        await rig.settle()
    await rig.sweep_all()
    await rig.sweep_all()
    counted = rig.operator.metrics.registry.get_sample_value
    result = "hit" if warm else "miss"
    assert counted("driftstack_pool_claims_total", {"pool": "default", "result": result}) == 1
    assert counted("driftstack_sessions_started_total", {"pool": result}) == 1
    assert counted("driftstack_session_stage_seconds_count", {"stage": "ready"}) == 1
    if warm:
        assert counted("driftstack_pool_claim_seconds_count", {"pool": "default"}) == 1
    memory = rig.operator.pools.memories._memories["default"]
    assert (memory.hits, memory.misses) == (warm, 1 - warm)


@pytest.mark.parametrize("after", [True, False])
async def test_pool_that_is_deleted_while_a_session_takes_a_pod(after: bool) -> None:
    rig = await full(2)
    rig.kube.fail("patch", "pods", Unreachable("no answer"), after=after)
    rig.create()
    await rig.operator.queue.work_on(("session", UID))
    rig.kube.vanish(Pool.KIND, BROWSERS, "default")
    await rig.settle()
    await rig.sweep_all()
    assert status_of(rig)["phase"] == "ready"
    (pod,) = pods_of(rig, UID)
    assert "deletionTimestamp" not in pod["metadata"]
    assert all("deletionTimestamp" in pod["metadata"] for pod in rig.warm_pods())


async def test_status_that_an_older_crd_cuts_is_not_written_again_and_again() -> None:
    rig = await full(2)
    kube = rig.operator.pools._pods._kube
    patched = kube.merge_patch

    async def prune(kind: Any, namespace: Any, name: str, patch: Body, subresource: Any = None) -> Body:
        if kind is Pool.KIND:
            patch = {**patch, "status": {k: v for k, v in patch["status"].items() if k != "desiredReplicas"}}
        return await patched(kind, namespace, name, patch, subresource)

    kube.merge_patch = prune  # type: ignore[method-assign]
    rig.change_pool(replicas=3)
    await rig.warm()
    await rig.tell_pools()
    rig.kube.calls.clear()
    for _ in range(3):
        await rig.tell_pools()
    assert rig.writes(Pool.KIND) == []
    rig.kube.change(Pool.KIND, BROWSERS, "default", readyReplicas=7)
    await rig.tell_pools()
    assert rig.pool()["status"]["readyReplicas"] == 3, "somebody else's write is put right"


async def test_agent_of_a_pod_that_somebody_removes_is_asked_no_more() -> None:
    rig = rig_of(1)
    await rig.prime()
    rig.agents.problem = AgentUnreachable("refused", sent=False)
    await rig.settle()
    rig.run_warm_pods()
    await rig.settle()
    (pod,) = rig.warm_pods()
    asked = rig.operator.pools._pool_agents._polls
    assert asked.running(pod["metadata"]["uid"])
    await rig.kube.delete(POD, BROWSERS, name_of(pod))
    await rig.settle()
    assert not asked.running(pod["metadata"]["uid"])
    await rig.operator.close()
