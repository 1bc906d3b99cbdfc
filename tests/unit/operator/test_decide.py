"""Every row of docs/reference/lifecycle.md, and what holds for all that can be observed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftstack_common.kinds import Phase
from driftstack_common.protocol import Claimed
from driftstack_common.times import now
from driftstack_operator.events import end_event, ready_event
from driftstack_operator.pods.view import PodView
from driftstack_operator.reasons import NORMAL, End, Reason
from driftstack_operator.sessions.archive import build_record
from driftstack_operator.sessions.decide import (
    Action,
    AddFinalizer,
    CreatePod,
    DeletePods,
    Finish,
    Forget,
    MakeRoom,
    Observed,
    Refused,
    TakePod,
    TellReady,
    Timing,
    Wait,
    decide,
)
from tests.unit.operator.builders import archetype, condition, ended, exited, pod, pool, session, waiting

DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "lifecycle.md"
HEADER = "| Session | Pod | Besides | Action | Phase | Reason | Event |"

SESSIONS: dict[str, Any] = {
    "gone": None,
    "new": session(finalizer=False),
    "creating": session(),
    "ready": session(phase="ready"),
    "busy": session(phase="busy", step=3),
    "deleted": session(phase="ready", deleted=True),
    "released": session(phase="ready", deleted=True, finalizer=False),
}
RUNNING = {"running": {"startedAt": "2026-05-12T12:00:01Z"}}
PODS: dict[str, PodView | None] = {
    "none": None,
    "pending": pod(phase="Pending", ip=""),
    "addressed": pod(phase="Pending"),
    "running": pod(state=RUNNING),
    "taken": pod(name="warm-1", state=RUNNING),
    "taken and crashed": pod(name="warm-1", phase="Failed", state=ended("browser-crashed")),
    "deleting": pod(state=RUNNING, deleted=True),
    "deleting unstarted": pod(phase="Pending", deleted=True),
    "deleting and ended": pod(state=ended("terminated", exit_code=143), deleted=True),
    "deleting and killed": pod(state=exited(137), deleted=True),
    "deleting by OOM": pod(state=exited(137, "OOMKilled"), deleted=True),
    "vanished": msgspec.structs.replace(pod(state=RUNNING), gone=True),
    "vanished after idle": msgspec.structs.replace(
        pod(phase="Succeeded", state=ended("idle", exit_code=0)), gone=True
    ),
    "vanished in deletion": msgspec.structs.replace(pod(state=RUNNING, deleted=True), gone=True),
    "vanished after SIGTERM": msgspec.structs.replace(pod(state=ended("terminated", exit_code=143)), gone=True),
    "back-off": pod(phase="Pending", state=waiting("ImagePullBackOff", "no such image")),
    "bad image name": pod(phase="Pending", ip="", state=waiting("InvalidImageName")),
    "pull failed": pod(phase="Pending", ip="", state=waiting("ErrImagePull")),
    "create failed": pod(phase="Pending", ip="", state=waiting("CreateContainerError", "no such profile")),
    "unschedulable": pod(
        phase="Pending",
        ip="",
        node="",
        conditions=[condition("PodScheduled", "False", "Unschedulable", "0/1 nodes")],
    ),
    "no room": pod(phase="Failed", ip="", reason="OutOfmemory"),
    "idle": pod(phase="Succeeded", state=ended("idle", exit_code=0)),
    "idle after OOM": pod(phase="Succeeded", state=ended("idle", exit_code=0, kubernetes="OOMKilled")),
    "duration": pod(phase="Succeeded", state=ended("duration", exit_code=0)),
    "deadline": pod(phase="Failed", reason="DeadlineExceeded"),
    "crashed": pod(phase="Failed", state=ended("browser-crashed")),
    "crashed by OOM": pod(phase="Failed", state=ended("browser-crashed", kubernetes="OOMKilled")),
    "sandbox missing": pod(phase="Failed", state=ended("sandbox-missing")),
    "start failed": pod(phase="Failed", state=ended("start-failed")),
    "can't run": pod(phase="Failed", state=exited(128, "StartError", "exec format error")),
    "OOM": pod(phase="Failed", state=exited(137, "OOMKilled")),
    "OOM told": pod(phase="Failed", state=ended("out-of-memory")),
    "SIGTERM": pod(phase="Failed", state=ended("terminated", exit_code=143)),
    "shut down": pod(phase="Failed", reason="Terminated", state=ended("terminated", exit_code=143)),
    "SIGTERM untold": pod(phase="Failed", state=exited(143)),
    "failed": pod(phase="Failed", state=exited(3)),
    "container ended": pod(state=exited(3)),
    "failed unseen": pod(phase="Failed"),
    "succeeded unseen": pod(phase="Succeeded"),
    "evicted": pod(phase="Failed", reason="Evicted"),
    "drained": pod(
        state=RUNNING, deleted=True, conditions=[condition("DisruptionTarget", "True", "EvictionByEvictionAPI")]
    ),
    "eviction announced": pod(
        state=RUNNING, conditions=[condition("DisruptionTarget", "True", "EvictionByEvictionAPI")]
    ),
    "drained and ended": pod(
        state=ended("terminated", exit_code=143),
        deleted=True,
        conditions=[condition("DisruptionTarget", "True", "EvictionByEvictionAPI")],
    ),
    "tainted": pod(state=RUNNING, conditions=[condition("DisruptionTarget", "True", "DeletionByTaintManager")]),
}
CLAIMED = Claimed(session="s", browser="HeadlessChrome/156", sandbox=None)
BESIDES: dict[str, dict[str, Any]] = {
    "recorded": {"recorded": True},
    "verdict": {"verdict": End(Reason.NODE_LOST)},
    "stray": {"strays": (pod(name="another"),)},
    "stray that goes": {"strays": (pod(name="another", deleted=True),)},
    "node lost": {"node_lost_in": 0.0},
    "node silent": {"node_lost_in": 5.0},
    "no account": {"cap": None},
    "no archetype": {"archetype": None, "slug": "nope"},
    "cap reached": {"cap": 2, "ahead": 2},
    "overdue": {"waited": 2.0},
    "stuck": {"waited": 30.0},
    "late": {"waited": 60.0},
    "warm pod": {"candidate": pod(name="warm")},
    "room lacks": {"room_in": 0.0},
    "room is made": {"room_in": 2.0},
    "pod refused": {"problem": End(Reason.UNSCHEDULABLE)},
    "no pool": {"pool": None},
    "claiming": {"claiming": True},
    "claimed": {"claim": CLAIMED},
    "refused": {"claim": Refused("no")},
    "held by another": {"claim": Refused("no", elsewhere=True)},
    "unanswered": {"asked_for": 5.0},
    "no such pool": {"pool": None, "pool_refused": "no such pool"},
    "ready refused": {"ready_refused": End(Reason.START_FAILED, "denied")},
    "untold": {"untold": True},
    "long step": {"busy_for": 5.0},
    "asking": {"asking": True},
    "idle agent": {"idle": True},
    "silent": {"leaving": 5.0},
}


def rows() -> list[tuple[str, ...]]:
    lines = DOCUMENT.read_text().splitlines()
    start = lines.index(HEADER) + 2
    table = lines[start : lines.index("", start)]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table]


def observed(session_word: str, pod_word: str, besides: str) -> Observed:
    values: dict[str, Any] = {"cap": 1, "archetype": archetype(), "pool": pool(), "slug": "default"}
    for word in filter(None, (word.strip() for word in besides.split(","))):
        values |= BESIDES[word]
    return Observed(session=SESSIONS[session_word], pod=PODS[pod_word], **values)


def event_of(action: Action) -> str:
    """Return type and reason of the Event that an action posts."""
    if isinstance(action, TellReady):
        event = ready_event(session(phase="ready"))
    elif isinstance(action, Finish):
        if action.end is None:
            return "as recorded"
        event = end_event(build_record(session(phase="ready"), action.end, now()))
    else:
        return ""
    return f"{event.type} {event.reason}"


@pytest.mark.parametrize("row", rows(), ids=lambda row: " / ".join(filter(None, row[:3])))
def test_row_of_the_lifecycle_document(row: tuple[str, ...]) -> None:
    session_word, pod_word, besides, action, phase, reason, event = row
    did = decide(observed(session_word, pod_word, besides))
    assert type(did).__name__ == action
    end: End | None = getattr(did, "end", None)
    assert (phase, reason) == ("", "") if end is None else (end.phase.value, end.reason.value) == (phase, reason)
    assert event_of(did) == event


def test_the_document_explains_every_reason_and_nothing_else() -> None:
    text = DOCUMENT.read_text()
    explained = {
        line.split("|")[2].strip()
        for line in text.splitlines()
        if line.startswith(("| destroyed | ", "| errored | "))
    }
    assert {reason.value for reason in Reason} <= explained
    used = {row[5] for row in rows()} - {""}
    assert used == {reason.value for reason in Reason}


def test_every_word_of_the_test_is_used_by_the_document() -> None:
    words = {word.strip() for row in rows() for word in row[2].split(",")} - {""}
    assert words == set(BESIDES)
    assert {row[0] for row in rows()} == set(SESSIONS)
    assert {row[1] for row in rows()} == set(PODS)


OBSERVED = st.builds(
    Observed,
    session=st.sampled_from(list(SESSIONS.values())),
    pod=st.sampled_from(list(PODS.values())),
    strays=st.sampled_from([(), (pod(name="another"),)]),
    node_lost_in=st.sampled_from([None, 0.0, 5.0]),
    recorded=st.booleans(),
    verdict=st.sampled_from([None, *(End(reason) for reason in Reason)]),
    cap=st.none() | st.integers(0, 3),
    ahead=st.integers(0, 4),
    archetype=st.sampled_from([None, archetype()]),
    pool=st.sampled_from([None, pool()]),
    candidate=st.sampled_from([None, pod(name="warm")]),
    room_in=st.none() | st.floats(0, 2),
    problem=st.sampled_from([None, End(Reason.UNSCHEDULABLE)]),
    claim=st.sampled_from([None, CLAIMED, Refused("no"), Refused("no", elsewhere=True)]),
    asked_for=st.floats(0, 120),
    claiming=st.booleans(),
    ready_refused=st.sampled_from([None, End(Reason.START_FAILED)]),
    untold=st.booleans(),
    asking=st.booleans(),
    idle=st.booleans(),
    waited=st.floats(0, 120),
    busy_for=st.floats(0, 120),
    leaving=st.floats(0, 120),
)


@given(OBSERVED)
def test_no_browser_starts_beyond_the_cap_without_account_or_for_an_ending_session(seen: Observed) -> None:
    action = decide(seen)
    starts = isinstance(action, CreatePod | TakePod)
    if starts and seen.pod is None:  # with one of its own, it changes that for a warm one
        assert seen.cap is not None
        assert seen.ahead < seen.cap
        assert seen.session is not None
        assert not seen.session.ending
        assert not seen.recorded
        assert seen.verdict is None
        assert seen.session.metadata.finalizers


@given(OBSERVED)
def test_what_is_recorded_is_only_ever_finished(seen: Observed) -> None:
    if seen.session is None or not seen.recorded:
        return
    action = decide(seen)
    assert isinstance(action, Finish | DeletePods | Wait)
    assert getattr(action, "end", None) is None


@given(OBSERVED)
def test_a_deleted_session_ends_destroyed_unless_its_record_is_written(seen: Observed) -> None:
    if seen.session is None or seen.recorded or not seen.session.ending:
        return
    action = decide(seen)
    assert isinstance(action, Finish)
    assert action.end is not None
    assert action.end.reason is Reason.DELETED


@given(OBSERVED)
def test_of_a_gone_session_only_pods_can_be_left(seen: Observed) -> None:
    if seen.session is None:
        assert isinstance(decide(seen), Forget | DeletePods)


@given(OBSERVED)
def test_only_a_session_with_a_pod_of_its_own_takes_the_room_of_others(seen: Observed) -> None:
    if isinstance(decide(seen), MakeRoom):
        assert seen.session is not None
        assert seen.session.status.phase is Phase.CREATING
        assert not seen.session.ending
        assert seen.pod is not None
        assert not seen.pod.pooled
        assert seen.room_in == 0


@given(OBSERVED)
def test_nothing_waits_beyond_the_start_timeout_while_creating(seen: Observed) -> None:
    if seen.session is None or seen.recorded or seen.session.status.phase is not Phase.CREATING or seen.waited < 60:
        return
    if seen.leaving < Timing().last_words:  # an agent is about to say why
        return
    action = decide(seen, Timing())
    assert not isinstance(action, Wait)


@given(OBSERVED)
def test_a_finalizer_comes_before_everything_else_of_a_living_session(seen: Observed) -> None:
    living = seen.session is not None and not seen.session.ending and not seen.recorded and seen.verdict is None
    if living and seen.session is not None and not seen.session.metadata.finalizers:
        assert isinstance(decide(seen), AddFinalizer)


@pytest.mark.parametrize("reason", list(Reason))
def test_phase_follows_from_the_reason(reason: Reason) -> None:
    assert End(reason).phase is (Phase.DESTROYED if reason in NORMAL else Phase.ERRORED)
