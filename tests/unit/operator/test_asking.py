"""Steps that are marked for long: the agent is asked beside the queue, and only its word calls a session idle."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from driftstack_common.agent_client import AgentTimeout
from driftstack_common.kinds import Session
from driftstack_common.protocol import Activity
from driftstack_operator.sessions.asking import Asking, Question
from tests.unit.operator.builders import NAMESPACE, UID
from tests.unit.operator.fakes import FakeAgents
from tests.unit.operator.rig import Rig

QUESTION = Question(address="10.0.0.1:8300", token="t", step=7)


class Silent(FakeAgents):
    """Takes every question and never answers."""

    async def activity(self, address: str, token: str, session: str, *, timeout: float = 0) -> Activity:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


class Broken(FakeAgents):
    async def activity(self, address: str, token: str, session: str, *, timeout: float = 0) -> Activity:
        raise ZeroDivisionError


async def busy(step: int = 7) -> Rig:
    """Return a rig whose session has been marked busy for long."""
    rig = Rig()
    await rig.prime()
    await rig.ready()
    rig.kube.change(Session.KIND, NAMESPACE, "one", phase="busy", step=step)
    await rig.settle()
    return rig


async def much_later(rig: Rig) -> None:
    rig.operator.sessions.tracks.begin(UID, 0).busy_since -= 5
    rig.operator.touch_session(UID)
    await rig.settle()


def shown(rig: Rig) -> tuple[str, int]:
    session = rig.session()
    assert session is not None
    return session["status"]["phase"], session["status"]["step"]


async def ask(agents: FakeAgents) -> list[tuple[str, int, Activity | None]]:
    told: list[tuple[str, int, Activity | None]] = []
    asking = Asking(agents, lambda *answer: told.append(answer))
    asking.start("s", QUESTION)
    asking.start("s", QUESTION)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not asking.running("s")
    return told


@pytest.mark.parametrize("step", [None, "navigate"])
async def test_the_agents_answer_is_told_once(step: str | None) -> None:
    agents = FakeAgents()
    agents.step = step
    assert await ask(agents) == [("s", 7, Activity(session="s", step=step, idle_seconds=1.0))]


async def test_an_agent_that_does_not_answer_is_not_called_idle() -> None:
    agents = FakeAgents()
    agents.problem = AgentTimeout("late")
    assert await ask(agents) == [("s", 7, None)]


async def test_a_bug_is_told_as_no_answer() -> None:
    assert await ask(Broken()) == [("s", 7, None)]


async def test_cancelled_questions_tell_nothing_and_leave_no_task() -> None:
    told: list[str] = []
    asking = Asking(Silent(), lambda uid, *_: told.append(uid))
    for number in range(3):
        asking.start(str(number), QUESTION)
    await asyncio.sleep(0)
    asking.cancel("0")
    assert not asking.running("0")
    await asking.close()
    assert told == []
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("ask-")] == []


async def test_500_silent_agents_keep_no_worker() -> None:
    rig = Rig(cap=500, workers=1)
    rig.operator.sessions.asking = Asking(Silent(), rig.operator.sessions._agent_answered)
    rig.operator.sessions.sight._asking = rig.operator.sessions.asking
    await rig.prime()
    uids = [str(UUID(int=number + 1, version=4)) for number in range(500)]
    for number, uid in enumerate(uids):
        rig.create(f"s{number}", uid)
    await rig.settle()
    for uid in uids:
        rig.run_pod(uid)
    await rig.settle()
    for number in range(500):
        rig.kube.change(Session.KIND, NAMESPACE, f"s{number}", phase="busy", step=1)
    await rig.settle()
    for uid in uids:
        rig.operator.sessions.tracks.begin(uid, 0).busy_since -= 5
        rig.operator.touch_session(uid)
    async with asyncio.timeout(20):
        await rig.settle()
    assert all(rig.operator.sessions.asking.running(uid) for uid in uids)
    await rig.kube.delete(Session.KIND, NAMESPACE, "s0")
    await rig.settle()
    assert rig.session("s0") is None
    await rig.operator.sessions.close()


async def test_step_that_is_over_is_called_idle_by_one_write() -> None:
    rig = await busy()
    before = len(rig.writes())
    await much_later(rig)
    assert shown(rig) == ("ready", 7)
    assert len(rig.writes()) == before + 1


async def test_step_that_runs_stays_marked_and_is_asked_about_later() -> None:
    rig = await busy()
    rig.agents.step = "navigate"
    await much_later(rig)
    assert shown(rig) == ("busy", 7)
    rig.agents.step = None
    rig.operator.touch_session(UID)
    await rig.settle()
    assert shown(rig) == ("busy", 7), "not asked again at once"
    await much_later(rig)
    assert shown(rig) == ("ready", 7)


async def test_an_answer_about_an_earlier_step_says_nothing_of_the_present_one() -> None:
    rig = await busy()
    track = rig.operator.sessions.tracks.begin(UID, 0)
    rig.operator.sessions._agent_answered(UID, 6, Activity(session=UID, step=None, idle_seconds=1.0))
    await rig.settle()
    assert shown(rig) == ("busy", 7)
    assert track.idle_step == 6


async def test_a_lost_key_calls_nobody_idle() -> None:
    rig = await busy()
    rig.operator.sessions._keys = type(rig.operator.sessions._keys)({"other": b"0" * 32})
    await much_later(rig)
    assert shown(rig) == ("busy", 7)
