"""What a pod's state says: the corners that the lifecycle document's table doesn't show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from driftstack_common.protocol import EndReason
from driftstack_operator.pods import outcome as module
from driftstack_operator.pods.outcome import LONGEST_LOG, agent_log, hopeless, outcome, stuck
from driftstack_operator.pods.view import PodView
from driftstack_operator.reasons import LONGEST_MESSAGE, Reason
from tests.unit.operator.builders import Body, condition, ended, exited, pod, waiting

DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "lifecycle.md"


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


def test_exit_code_and_state_are_in_the_message_and_the_log_is_not() -> None:
    end = outcome(pod(phase="Failed", state=exited(3, "Error", "bang")))
    assert end is not None
    assert end.message == "the container ended with exit code 3 (Error)"


def test_what_the_runtime_said_is_in_the_message() -> None:
    end = outcome(pod(phase="Failed", state=exited(128, "StartError", "exec format error")))
    assert end is not None
    assert end.message == "the container ended with exit code 128 (StartError): exec format error"


@pytest.mark.parametrize(
    ("state", "log"),
    [
        pytest.param(ended("idle", log="a\nb"), "a\nb", id="the agent's own"),
        pytest.param(ended("idle"), "", id="of an agent that sends none"),
        pytest.param(exited(137, message="one\ntwo\n"), "one\ntwo", id="what the kubelet took from the log"),
        pytest.param(exited(128, "StartError", "exec format error"), "", id="the runtime's words are no log"),
        pytest.param(exited(137, message="\x1b[2Jhidden"), "\N{REPLACEMENT CHARACTER}[2Jhidden", id="no control"),
        pytest.param({"running": {}}, "", id="it runs"),
    ],
)
def test_last_lines_of_the_agents_log(state: Body, log: str) -> None:
    assert agent_log(pod(state=state)) == log


@pytest.mark.parametrize("sign", ["x", "é", "😀"])
def test_a_log_is_cut_to_whole_lines_of_2_kib(sign: str) -> None:
    lines = [f"{number:04} {sign * 20}" for number in range(500)]
    log = agent_log(pod(state=exited(137, message="\n".join(lines))))
    assert LONGEST_LOG - 100 < len(log.encode()) <= LONGEST_LOG
    assert log.splitlines() == lines[-len(log.splitlines()) :]


def test_one_endless_line_is_cut_too() -> None:
    assert 0 < len(agent_log(pod(state=exited(137, message="é" * 5000))).encode()) <= LONGEST_LOG


def test_no_pod_left_no_log() -> None:
    assert agent_log(None) == ""


def words() -> list[tuple[str, str, str]]:
    lines = DOCUMENT.read_text().splitlines()
    start = lines.index("| Where | Word | Reason |") + 2
    cells = [line.strip("|").split("|") for line in lines[start : lines.index("", start)]]
    return [(where.strip(), word.strip(), reason.strip()) for where, word, reason in cells]


def test_the_document_lists_every_word_that_becomes_a_reason() -> None:
    tables: dict[str, Mapping[Any, Reason]] = {
        "agent": module.AGENT_REASONS,
        "pod": module.POD_REASONS,
        "disruption": module.DISRUPTIONS,
        "waiting, hopeless": module.HOPELESS_WAITING,
        "waiting, may pass": module.STUCK_WAITING,
    }
    known = {(where, str(word), reason.value) for where, table in tables.items() for word, reason in table.items()}
    assert set(words()) == known
    assert set(module.AGENT_REASONS) == set(EndReason)


def test_healthy_pod_is_neither_hopeless_nor_stuck() -> None:
    view = pod(phase="Pending", state=waiting("ContainerCreating"))
    assert (hopeless(view), stuck(view)) == (None, None)


def test_cause_of_a_stuck_pod_names_what_the_kubelet_said() -> None:
    end = stuck(pod(phase="Pending", state=waiting("CreateContainerError", "no such profile")))
    assert end is not None
    assert end.message == "CreateContainerError: no such profile"
