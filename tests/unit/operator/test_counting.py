"""Steps in records: by the agent's last word, its answer, or what it said before."""

from __future__ import annotations

from typing import Any

import pytest

from driftstack_common.agent_client import AgentTimeout
from driftstack_common.kinds import Session, StepCounts
from driftstack_common.kube.client import NODE
from driftstack_common.times import now
from tests.unit.operator.builders import CREATED, NAMESPACE, UID, ended, exited
from tests.unit.operator.rig import Rig

FIRST = CREATED[:10]
TOLD = {FIRST: StepCounts(navigate=2, screenshot_capture=1)}
KEPT = {FIRST: {"navigate": 2, "screenshotCapture": 1}}


@pytest.fixture
async def rig() -> Rig:
    """A rig with a ready session."""
    made = Rig()
    await made.prime()
    await made.ready()
    return made


def usage(rig: Rig) -> dict[str, Any]:
    record = rig.record()
    assert record is not None
    found: dict[str, Any] = record["spec"].get("usage", {})
    return found


async def delete(rig: Rig) -> None:
    await rig.kube.delete(Session.KIND, NAMESPACE, "one")
    await rig.settle()


async def test_the_agent_of_a_deleted_session_is_asked_before_its_pod_goes(rig: Rig) -> None:
    rig.agents.usage = TOLD
    await delete(rig)
    assert usage(rig) == KEPT


async def test_the_last_word_of_an_agent_counts(rig: Rig) -> None:
    rig.agents.usage = {FIRST: StepCounts(wait=9)}
    rig.end_pod(**ended("browser-crashed", usage=KEPT))
    await rig.settle()
    assert usage(rig) == KEPT


async def test_an_agent_that_says_nothing_holds_no_end_up(rig: Rig) -> None:
    rig.agents.problem = AgentTimeout("late")
    await delete(rig)
    assert usage(rig) == {}
    assert rig.session() is None


@pytest.mark.parametrize("way", ["killed", "silent"])
async def test_what_an_agent_said_during_a_long_step_counts_when_it_says_no_more(rig: Rig, way: str) -> None:
    rig.agents.usage, rig.agents.step = TOLD, "navigate"
    rig.kube.change(Session.KIND, NAMESPACE, "one", phase="busy", step=1)
    await rig.settle()
    rig.operator.sessions.tracks.begin(UID, 0).busy_since -= 5
    rig.operator.touch_session(UID)
    await rig.settle()
    rig.agents.problem = AgentTimeout("late")
    if way == "killed":
        rig.end_pod(**exited(137))
        await rig.settle()
    else:
        await delete(rig)
    assert usage(rig) == KEPT


async def test_nobody_is_asked_on_a_silent_node(rig: Rig) -> None:
    rig.agents.usage = TOLD
    rig.kube.change(NODE, None, "local", conditions=[{"type": "Ready", "status": "Unknown"}])
    await rig.settle()
    assert usage(rig) == {}, "its session is lost with it, and nobody waits for an answer"


async def test_a_session_that_never_ran_has_done_nothing(rig: Rig) -> None:
    rig.create("two", "22222222-2222-4333-8444-555555555555")
    await rig.settle()
    rig.agents.usage = TOLD
    await rig.kube.delete(Session.KIND, NAMESPACE, "two")
    await rig.settle()
    record = rig.record("22222222-2222-4333-8444-555555555555")
    assert record is not None
    assert "usage" not in record["spec"]


async def test_days_outside_the_sessions_life_are_moved_into_it(rig: Rig) -> None:
    rig.agents.usage = {"1999-01-01": StepCounts(wait=1), "2999-01-01": StepCounts(wait=2)}
    await delete(rig)
    assert usage(rig) == {FIRST: {"wait": 1}, now().date().isoformat(): {"wait": 2}}
