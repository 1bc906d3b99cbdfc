"""Whole lives of sessions, against an API server in memory."""

from __future__ import annotations

from uuid import UUID

import pytest

from driftstack_common.agent_client import AgentProblem, AgentUnreachable
from driftstack_common.kinds import Archetype, Session
from driftstack_common.kube.client import NODE, POD
from driftstack_common.kube.errors import Forbidden, Invalid, KubeError, NotFound, QuotaExceeded, Unreachable
from driftstack_common.names import FINALIZER
from driftstack_common.protocol import ProblemCode
from driftstack_operator.sessions.starting import MOST_REFUSALS
from tests.unit.operator.builders import NAMESPACE, UID, archetype_body, ended
from tests.unit.operator.rig import BROWSERS, KEYS, Rig

OTHER = "99999999-2222-4333-8444-555555555555"


def uid(number: int) -> str:
    return str(UUID(int=number + 1, version=4))


@pytest.fixture
async def rig() -> Rig:
    rig = Rig()
    await rig.prime()
    await rig.settle()
    rig.kube.calls.clear()
    return rig


def outcome(rig: Rig, of: str = UID) -> tuple[str, str] | None:
    record = rig.record(of)
    return (record["spec"]["phase"], record["spec"]["reason"]) if record else None


async def test_from_create_to_ready_with_two_writes(rig: Rig) -> None:
    await rig.ready()
    session = rig.session()
    assert session is not None
    status = session["status"]
    assert status["phase"] == "ready"
    assert status["archetype"] == "default"
    assert status["pool"] == "miss"
    assert status["browser"] == {
        "pod": f"browser-{UID}",
        "node": "local",
        "address": "10.0.0.1:8300",
        "tokenKey": "k1",
        "version": "HeadlessChrome/156",
    }
    seen = {"accepted", "podCreated", "podScheduled", "podRunning", "claimed", "ready"}
    assert set(status["stages"]) == seen
    counted = {sample.labels["stage"] for sample in rig.operator.metrics.stages.collect()[0].samples}
    assert counted == {"accepted", "pod_created", "pod_scheduled", "pod_running", "claimed", "ready"}
    assert [(c["type"], c["status"]) for c in status["conditions"]] == [("Ready", "True"), ("Sandboxed", "False")]
    assert rig.writes() == [("create", "pods"), ("patch", "browsersessions")]


async def test_ready_said_again_after_a_lost_answer_ends_no_step(rig: Rig) -> None:
    rig.create()
    await rig.settle()
    rig.run_pod()
    watchers, rig.kube.watchers[:] = rig.kube.watchers[:], []  # the write arrives; its answer and event do not
    rig.kube.fail("patch", "browsersessions", Unreachable("no answer"), after=True)
    await rig.settle()
    rig.kube.change(Session.KIND, NAMESPACE, "one", phase="busy", step=1)  # the facade marks a step at once

    rig.kube.watchers[:] = watchers
    for _ in range(3):
        rig.operator.queue.add(("session", UID))
        await rig.settle()
    session = rig.session()
    assert session is not None
    assert (session["status"]["phase"], session["status"]["step"]) == ("busy", 1)


async def test_the_agent_is_asked_with_its_token_and_the_accounts_limits(rig: Rig) -> None:
    await rig.ready()
    address, token, claim = rig.agents.claimed[0]
    assert (address, token) == ("10.0.0.1:8300", KEYS.token(f"browser-{UID}"))
    assert (claim.session, claim.limits.idle_seconds, claim.limits.duration_seconds) == (UID, 1800, None)
    assert len(rig.agents.claimed) == 1


async def test_delete_of_a_ready_session_takes_three_writes(rig: Rig) -> None:
    await rig.ready()
    rig.kube.calls.clear()
    await rig.kube.delete(Session.KIND, NAMESPACE, "one")
    await rig.settle()
    assert outcome(rig) == ("destroyed", "Deleted")
    assert rig.session() is None
    assert rig.writes()[1:] == [
        ("create", "sessionrecords"),
        ("delete", "pods"),
        ("patch", "browsersessions"),
    ]


async def test_delete_while_creating(rig: Rig) -> None:
    rig.create()
    await rig.settle()
    await rig.kube.delete(Session.KIND, NAMESPACE, "one")
    await rig.settle()
    assert outcome(rig) == ("destroyed", "Deleted")
    assert rig.pod() is None, "no node has it yet"
    assert len(rig.operator.sessions.tracks) == 0


async def test_session_without_finalizer_gets_it_before_any_pod(rig: Rig) -> None:
    rig.create(finalizer=False)
    await rig.settle()
    assert rig.writes() == [("patch", "browsersessions"), ("create", "pods")]
    session = rig.session()
    assert session is not None
    assert session["metadata"]["finalizers"] == [FINALIZER]


async def test_pod_deleted_by_a_person(rig: Rig) -> None:
    await rig.ready()
    await rig.kube.delete(POD, BROWSERS, f"browser-{UID}")
    await rig.settle()
    assert outcome(rig) == ("errored", "PodDeleted")
    assert rig.session() is None


async def test_pod_that_vanished_while_creating_is_not_made_again(rig: Rig) -> None:
    rig.create()
    await rig.settle()
    rig.kube.vanish(POD, BROWSERS, f"browser-{UID}")
    await rig.settle()
    assert outcome(rig) == ("errored", "PodDeleted")
    assert rig.writes(POD) == [("create", "pods")]


async def test_agents_own_end_is_the_reason(rig: Rig) -> None:
    await rig.ready()
    rig.end_pod(**ended("idle", "idle for 1800 s", exit_code=0))
    await rig.settle()
    assert outcome(rig) == ("destroyed", "IdleTimeout")


async def test_lost_node_ends_its_sessions_and_waits_for_no_pod(rig: Rig) -> None:
    await rig.ready()
    rig.kube.change(NODE, None, "local", conditions=[{"type": "Ready", "status": "Unknown"}])
    await rig.settle()
    assert outcome(rig) == ("errored", "NodeLost")
    assert rig.session() is None


async def test_removed_node_ends_its_sessions(rig: Rig) -> None:
    await rig.ready()
    rig.kube.vanish(NODE, None, "local")
    await rig.settle()
    assert outcome(rig) == ("errored", "NodeLost")


async def test_unknown_archetype_is_named(rig: Rig) -> None:
    rig.create(spec={"archetype": "nope_1"})
    await rig.settle()
    assert outcome(rig) == ("errored", "UnknownArchetype")
    record = rig.record()
    assert record is not None
    assert record["spec"]["message"] == f"no archetype 'nope_1', neither in {NAMESPACE} nor in the catalogue"
    assert rig.writes(POD) == []


async def test_the_accounts_own_archetype_goes_before_the_catalogue(rig: Rig) -> None:
    own = archetype_body(namespace=NAMESPACE)
    own["spec"]["device"]["viewport"]["width"] = 777
    rig.kube.put(Archetype.KIND, own)
    await rig.ready()
    assert rig.agents.claimed[0][2].device.viewport.width == 777


async def test_what_the_watch_has_not_brought_yet_is_looked_up() -> None:
    rig = Rig()
    await rig.lead()  # its store is empty: no LIST was made
    await rig.ready()
    session = rig.session()
    assert session is not None
    assert session["status"]["phase"] == "ready"


async def test_session_in_a_namespace_of_no_account(rig: Rig) -> None:
    rig.create(namespace="default")
    await rig.settle()
    record = rig.kube.objects[("sessionrecords", "default", UID)]
    assert record["spec"]["reason"] == "NoAccount"


async def test_surplus_session_is_errored_and_no_pod_made() -> None:
    rig = Rig(cap=1, surplus_seconds=0)
    await rig.prime()
    await rig.ready("one", uid(1))
    rig.create("two", uid(2))
    await rig.settle()
    assert outcome(rig, uid(2)) == ("errored", "ConcurrencyLimit")
    assert rig.pod(uid(2)) is None
    assert outcome(rig, uid(1)) is None


async def test_surplus_session_takes_the_slot_that_becomes_free() -> None:
    rig = Rig(cap=1, surplus_seconds=60)
    await rig.prime()
    await rig.ready("one", uid(1))
    rig.create("two", uid(2))
    await rig.settle()
    assert rig.pod(uid(2)) is None
    await rig.kube.delete(Session.KIND, NAMESPACE, "one")
    await rig.settle()
    assert rig.pod(uid(2)) is not None


async def test_slots_are_given_in_order_of_admission() -> None:
    rig = Rig(cap=2, surplus_seconds=60)
    await rig.prime()
    for number in range(5):
        rig.create(f"s{number}", uid(number))
    await rig.settle()
    assert [number for number in range(5) if rig.pod(uid(number))] == [0, 1]


async def test_a_slot_that_is_held_counts_whoever_came_first() -> None:
    rig = Rig(cap=1, surplus_seconds=60)
    await rig.prime()
    rig.create("later", uid(2))
    await rig.settle()
    assert rig.pod(uid(2)) is not None
    await rig.restart()
    rig.create("earlier", uid(1))
    rig.operator.sessions.tracks.begin(uid(1), 0).order = 0
    await rig.settle()
    assert rig.pod(uid(1)) is None


async def test_refusing_agent_ends_the_start(rig: Rig) -> None:
    rig.agents.problem = AgentProblem(ProblemCode.HOLDER_CONFLICT, "claimed by another", {"holder": OTHER})
    await rig.ready()
    assert outcome(rig) == ("errored", "StartFailed")


async def test_agent_that_is_not_there_yet_is_asked_again(rig: Rig) -> None:
    rig.agents.problem = AgentUnreachable("refused", sent=False)
    await rig.ready()
    assert outcome(rig) is None
    assert rig.operator.sessions.claims.running(UID)
    rig.agents.problem = None
    rig.operator.sessions.claims.hurry(UID)
    await rig.settle()
    session = rig.session()
    assert session is not None
    assert session["status"]["phase"] == "ready"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (QuotaExceeded("exceeded quota: browsers", status=403), "Unschedulable"),
        (Forbidden("violates PodSecurity", status=403), "StartFailed"),
        (NotFound("namespaces driftstack-browsers not found", status=404), "StartFailed"),
        (KubeError("failed calling webhook", status=500), "StartFailed"),
    ],
)
async def test_refused_pod_ends_the_session_with_the_cause(error: KubeError, reason: str) -> None:
    rig = Rig(stuck_seconds=1)
    await rig.prime()
    rig.kube.fail("create", "pods", error)
    rig.create()
    await rig.settle()
    assert outcome(rig) is None
    rig.operator.sessions.tracks.begin(UID, 0).seen -= 2
    rig.operator.touch_session(UID)
    await rig.settle()
    assert outcome(rig) == ("errored", reason)


async def test_api_server_that_is_away_ends_no_start(rig: Rig) -> None:
    rig.kube.fail("create", "pods", Unreachable("no answer"))
    rig.create()
    await rig.settle()
    rig.operator.sessions.tracks.begin(UID, 0).seen -= 50
    rig.operator.touch_session(UID)
    await rig.settle()
    assert rig.record() is None
    assert rig.pod() is not None


async def test_terminating_namespace_gets_no_record_but_everything_goes(rig: Rig) -> None:
    await rig.ready()
    rig.kube.terminating.add(NAMESPACE)
    await rig.kube.delete(Session.KIND, NAMESPACE, "one")
    await rig.settle()
    assert rig.session() is None
    assert rig.record() is None
    assert ("delete", "pods") in rig.writes()


@pytest.mark.parametrize(
    ("status", "message"), [(500, "etcdserver: request is too large"), (413, "limit is 3145728")]
)
async def test_metadata_that_leave_no_room_for_a_record_do_not_keep_the_session(
    rig: Rig, status: int, message: str
) -> None:
    rig.create(spec={"label": "kept", "metadata": {"large": "x"}})
    await rig.settle()
    rig.kube.fail("create", "sessionrecords", KubeError(message, status=status))
    await rig.kube.delete(Session.KIND, NAMESPACE, "one")
    await rig.settle()
    assert outcome(rig) == ("destroyed", "Deleted")
    record = rig.record()
    assert record is not None
    assert record["spec"]["label"] == "kept"
    assert "metadata" not in record["spec"]
    assert rig.session() is None


async def test_other_refusals_of_a_record_cost_it_nothing(rig: Rig) -> None:
    rig.create(spec={"metadata": {"a": 1}})
    await rig.settle()
    rig.kube.fail("create", "sessionrecords", KubeError("etcdserver: leader changed", status=500))
    await rig.kube.delete(Session.KIND, NAMESPACE, "one")
    await rig.settle()
    assert rig.record() is None
    rig.operator.touch_session(UID)
    await rig.settle()
    record = rig.record()
    assert record is not None
    assert record["spec"]["metadata"] == {"a": 1}


async def test_orphaned_pod_is_deleted_only_when_its_session_is_really_gone(rig: Rig) -> None:
    await rig.ready()
    rig.operator.store.sessions._entries.clear()
    rig.operator.store.sessions._groups.clear()
    rig.operator.touch_session(UID)
    await rig.settle()
    pod = rig.pod()
    assert pod is not None
    assert "deletionTimestamp" not in pod["metadata"]
    assert rig.operator.store.sessions.by_uid(UID) is not None


WRITES = [
    ("create", "pods"),
    ("patch", "browsersessions"),
    ("create", "sessionrecords"),
    ("delete", "pods"),
    ("delete", "browsersessions"),
]


@pytest.mark.parametrize("after", [False, True], ids=["lost", "done but not answered"])
@pytest.mark.parametrize(("verb", "plural"), WRITES)
@pytest.mark.parametrize("dies", [False, True], ids=["lives", "dies"])
async def test_any_write_may_fail_and_the_operator_may_die_there(
    rig: Rig, verb: str, plural: str, *, after: bool, dies: bool
) -> None:
    async def go_on() -> None:
        await rig.settle()
        if dies:
            await rig.restart()
        rig.operator.touch_session(UID)
        await rig.settle()

    rig.kube.fail(verb, plural, Unreachable("no answer"), after=after)
    rig.create()
    await go_on()
    rig.run_pod()
    await go_on()
    session = rig.session()
    assert session is not None
    assert session["status"]["phase"] == "ready"
    rig.end_pod(**ended("browser-crashed"))
    await go_on()
    await go_on()
    assert rig.kube.faults == []
    assert outcome(rig) == ("errored", "BrowserCrashed")
    assert rig.session() is None
    pod = rig.pod()
    assert pod is None or "deletionTimestamp" in pod["metadata"]


async def test_recorded_session_is_finished_and_never_revived(rig: Rig) -> None:
    await rig.ready()
    rig.kube.change(NODE, None, "local", conditions=[{"type": "Ready", "status": "Unknown"}])
    rig.kube.fail("delete", "pods", Unreachable("no answer"))
    await rig.settle()
    assert outcome(rig) == ("errored", "NodeLost")
    assert rig.session() is not None
    rig.kube.change(NODE, None, "local", conditions=[{"type": "Ready", "status": "True"}])
    await rig.restart()
    await rig.settle()
    assert rig.session() is None
    assert outcome(rig) == ("errored", "NodeLost")


async def test_deletions_that_no_watch_told_of_are_found_by_the_sweep(rig: Rig) -> None:
    await rig.ready()
    rig.kube.watchers.clear()
    rig.kube.vanish(POD, BROWSERS, f"browser-{UID}")
    await rig.operator.sweep.list_all()
    await rig.settle()
    assert outcome(rig) == ("errored", "PodDeleted")


async def test_metrics_count_starts_and_ends(rig: Rig) -> None:
    await rig.ready()
    rig.end_pod(**ended("browser-crashed"))
    await rig.settle()
    registry = rig.operator.metrics.registry
    assert registry.get_sample_value("driftstack_sessions_started_total", {"pool": "miss"}) == 1
    labels = {"phase": "errored", "reason": "BrowserCrashed"}
    assert registry.get_sample_value("driftstack_sessions_ended_total", labels) == 1
    assert registry.get_sample_value("driftstack_sessions_live") == 0


@pytest.mark.parametrize("after", [False, True], ids=["lost", "done but not answered"])
async def test_an_end_counts_once_also_when_the_records_answer_is_lost(rig: Rig, *, after: bool) -> None:
    await rig.ready()
    rig.kube.fail("create", "sessionrecords", Unreachable("no answer"), after=after)
    rig.end_pod(**ended("browser-crashed"))
    await rig.settle()
    rig.operator.touch_session(UID)
    await rig.settle()
    assert rig.session() is None
    assert ended_total(rig) == 1


async def test_an_end_that_another_operator_recorded_is_not_counted_again(rig: Rig) -> None:
    await rig.ready()
    rig.kube.fail("create", "sessionrecords", Unreachable("killed here"), after=True)
    rig.end_pod(**ended("browser-crashed"))
    await rig.settle()
    await rig.restart()
    rig.operator.sessions.tracks.begin(UID, 0).recorded = False  # it was not listed yet
    await rig.settle()
    assert rig.session() is None
    assert ended_total(rig) is None


def ended_total(rig: Rig) -> float | None:
    labels = {"phase": "errored", "reason": "BrowserCrashed"}
    return rig.operator.metrics.registry.get_sample_value("driftstack_sessions_ended_total", labels)


@pytest.mark.parametrize("error", [Invalid("status.phase: denied", status=422), Forbidden("no right", status=403)])
async def test_a_status_that_is_refused_for_good_ends_the_start(rig: Rig, error: KubeError) -> None:
    for _ in range(MOST_REFUSALS):
        rig.kube.fail("patch", "browsersessions", error)
    await rig.ready()
    for _ in range(MOST_REFUSALS):
        assert outcome(rig) is None
        rig.operator.touch_session(UID)
        await rig.settle()
    assert outcome(rig) == ("errored", "StartFailed")
    record = rig.record()
    assert record is not None
    assert error.message in record["spec"]["message"]


async def test_a_status_that_is_refused_once_is_written_later(rig: Rig) -> None:
    rig.kube.fail("patch", "browsersessions", Invalid("a policy is being replaced", status=422))
    await rig.ready()
    rig.operator.touch_session(UID)
    await rig.settle()
    session = rig.session()
    assert session is not None
    assert session["status"]["phase"] == "ready"


async def test_the_record_of_a_deleted_pod_waits_for_the_agents_log() -> None:
    rig = Rig(last_words_seconds=60)
    await rig.prime()
    await rig.ready()
    await rig.kube.delete(POD, BROWSERS, f"browser-{UID}")
    await rig.settle()
    assert rig.record() is None
    rig.end_pod(**ended("terminated", "SIGTERM", exit_code=143, log='{"event":"claimed"}'))
    await rig.settle()
    record = rig.record()
    assert record is not None
    assert (record["spec"]["reason"], record["spec"]["agentLog"]) == ("PodDeleted", '{"event":"claimed"}')


async def test_the_record_of_a_deleted_pod_waits_for_no_silent_agent() -> None:
    rig = Rig(last_words_seconds=60)
    await rig.prime()
    await rig.ready()
    await rig.kube.delete(POD, BROWSERS, f"browser-{UID}")
    await rig.settle()
    track = rig.operator.sessions.tracks.begin(UID, 0)
    assert track.leaving_since is not None
    track.leaving_since -= 60
    rig.operator.touch_session(UID)
    await rig.settle()
    assert outcome(rig) == ("errored", "PodDeleted")


async def test_lost_nodes_are_forgotten_when_nothing_is_on_them(rig: Rig) -> None:
    store = rig.operator.store
    await rig.ready()
    rig.kube.vanish(NODE, None, "local")
    assert store.node_lost_in("local", patience=5) == 0
    await rig.settle()
    for number in range(100):
        rig.kube.put(NODE, {"metadata": {"name": f"spot-{number}"}, "status": {}})
        rig.kube.vanish(NODE, None, f"spot-{number}")
    assert len(store.lost_nodes) <= 1


async def test_a_silent_node_whose_agents_answer_costs_no_session() -> None:
    """The API server was away, and the node's kubelet has not found it again; browsers don't care."""
    rig = Rig(node_patience_seconds=60)
    await rig.prime()
    await rig.ready()
    rig.kube.change(NODE, None, "local", conditions=[{"type": "Ready", "status": "Unknown"}])
    rig.operator.store._silent["local"] -= 60
    rig.agents.living = True
    rig.operator.touch_session(UID)
    await rig.settle()
    assert outcome(rig) is None
    track = rig.operator.sessions.tracks.begin(UID, 0)
    assert track.answered_at is not None
    rig.agents.living = False
    rig.operator.touch_session(UID)
    await rig.settle()
    assert outcome(rig) is None  # it has just answered
    track.answered_at -= 60
    rig.operator.touch_session(UID)
    await rig.settle()
    assert outcome(rig) == ("errored", "NodeLost")


async def test_a_node_that_is_silent_for_a_moment_costs_no_session() -> None:
    rig = Rig(node_patience_seconds=60)
    await rig.prime()
    await rig.ready()
    rig.kube.change(NODE, None, "local", conditions=[{"type": "Ready", "status": "Unknown"}])
    await rig.settle()
    rig.kube.change(NODE, None, "local", conditions=[{"type": "Ready", "status": "True"}])
    assert rig.operator.store.node_lost_in("local", 0) is None
    await rig.settle()
    assert outcome(rig) is None


async def test_a_silent_node_is_looked_at_again_when_its_patience_is_over() -> None:
    rig = Rig(node_patience_seconds=60)
    await rig.prime()
    await rig.ready()
    rig.kube.change(NODE, None, "local", conditions=[{"type": "Ready", "status": "Unknown"}])
    again = await rig.operator.sessions.reconcile(UID)
    assert again is not None
    assert 59 < again <= 60
    rig.operator.store._silent["local"] -= 60
    rig.operator.touch_session(UID)
    await rig.settle()
    assert outcome(rig) == ("errored", "NodeLost")
