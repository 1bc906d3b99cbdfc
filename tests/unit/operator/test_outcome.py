"""What a pod's state says: the corners that the lifecycle document's table doesn't show."""

from __future__ import annotations

import pytest

from driftstack_operator.pods.outcome import hopeless, outcome, stuck
from driftstack_operator.pods.view import PodView
from driftstack_operator.reasons import LONGEST_MESSAGE, Reason
from tests.unit.operator.builders import Body, condition, ended, exited, pod, waiting


def reason_of(view: PodView, *, node_lost: bool = False) -> Reason | None:
    end = outcome(view, node_lost=node_lost)
    return end.reason if end is not None else None


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (exited(143), Reason.TERMINATED),
        (exited(137), Reason.POD_FAILED),
        (exited(0, "Completed"), Reason.POD_FAILED),
        (exited(128, "StartError", "exec format error"), Reason.START_FAILED),
        (exited(1, message="not JSON"), Reason.POD_FAILED),
        (exited(1, message='{"reason": "unheard-of"}'), Reason.POD_FAILED),
        (ended("idle", exit_code=0, kubernetes="OOMKilled"), Reason.IDLE_TIMEOUT),
    ],
)
def test_container_that_ended(state: Body, reason: Reason) -> None:
    assert reason_of(pod(phase="Failed", state=state)) is reason


@pytest.mark.parametrize("disruption", ["EvictionByEvictionAPI", "PreemptionByScheduler", "TerminationByKubelet"])
def test_sigterm_of_a_disrupted_pod_counts_as_the_disruption(disruption: str) -> None:
    view = pod(
        state=ended("terminated", exit_code=143),
        deleted=True,
        conditions=[condition("DisruptionTarget", "True", disruption)],
    )
    assert reason_of(view) is Reason.EVICTED


def test_sigterm_of_a_deleted_pod_counts_as_its_deletion() -> None:
    assert reason_of(pod(state=ended("terminated", exit_code=143), deleted=True)) is Reason.POD_DELETED


def test_false_disruption_condition_says_nothing() -> None:
    assert reason_of(pod(conditions=[condition("DisruptionTarget", "False", "EvictionByEvictionAPI")])) is None


def test_own_clock_wins_over_a_lost_node() -> None:
    assert (
        reason_of(pod(phase="Succeeded", state=ended("idle", exit_code=0)), node_lost=True) is Reason.IDLE_TIMEOUT
    )


def test_pod_killed_for_memory_while_it_is_deleted() -> None:
    assert reason_of(pod(state=exited(137, "OOMKilled"), deleted=True)) is Reason.OUT_OF_MEMORY


@pytest.mark.parametrize("reason", ["OutOfcpu", "NodeAffinity", "UnexpectedAdmissionError"])
def test_kubelet_had_no_room(reason: str) -> None:
    assert reason_of(pod(phase="Failed", reason=reason)) is Reason.UNSCHEDULABLE


def test_messages_are_bounded() -> None:
    end = outcome(pod(phase="Failed", state=ended("browser-crashed", "x" * 5000)))
    assert end is not None
    assert len(end.message) == LONGEST_MESSAGE


def test_exit_code_and_state_are_in_the_message() -> None:
    end = outcome(pod(phase="Failed", state=exited(3, "Error", "bang")))
    assert end is not None
    assert end.message == "the container ended with exit code 3 (Error): bang"


def test_healthy_pod_is_neither_hopeless_nor_stuck() -> None:
    view = pod(phase="Pending", state=waiting("ContainerCreating"))
    assert (hopeless(view), stuck(view)) == (None, None)


def test_cause_of_a_stuck_pod_names_what_the_kubelet_said() -> None:
    end = stuck(pod(phase="Pending", state=waiting("CreateContainerError", "no such profile")))
    assert end is not None
    assert end.message == "CreateContainerError: no such profile"
