"""Asking agents: how often, how long, and what ends it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from driftstack_common.agent_client import AgentError, AgentProblem, AgentTimeout, AgentUnreachable
from driftstack_common.kinds.archetype import Device, Viewport
from driftstack_common.protocol import Claim, Claimed, ProblemCode
from driftstack_operator.leadership.elector import NotLeading
from driftstack_operator.sessions.claims import Claims, Target
from driftstack_operator.sessions.decide import Refused
from tests.unit.operator.fakes import FakeAgents

TARGET = Target(
    address="10.0.0.1:8300",
    token="t",
    claim=Claim(session="s", device=Device(viewport=Viewport(width=1, height=1))),
)


class Scripted(FakeAgents):
    """Raises what it is told, then answers."""

    def __init__(self, *problems: Exception) -> None:
        super().__init__()
        self.problems = list(problems)
        self.asked = 0

    async def claim(self, *arguments: Any, **deadlines: Any) -> Claimed:
        self.asked += 1
        if self.problems:
            raise self.problems.pop(0)
        return Claimed(session="s", browser="b", sandbox=None)


async def test_an_operator_that_does_not_lead_is_no_refusal() -> None:
    agents = Scripted(NotLeading("claim: this operator does not lead"))
    assert isinstance(await ask(agents), Claimed)
    assert agents.asked == 2


async def ask(agents: Scripted) -> Claimed | Refused:
    answer: asyncio.Future[Claimed | Refused] = asyncio.get_running_loop().create_future()
    claims = Claims(agents, lambda _, result: answer.set_result(result))
    claims.claim("s", TARGET)
    claims.claim("s", TARGET)
    result = await asyncio.wait_for(answer, 5)
    assert not claims.running("s")
    return result


@pytest.mark.parametrize(
    "problem",
    [
        AgentUnreachable("refused", sent=False),
        AgentTimeout("late"),
        AgentProblem(ProblemCode.STARTING, "not yet"),
        AgentProblem(ProblemCode.BROWSER_FAILED, "its pod will tell"),
    ],
)
async def test_asks_again_until_it_is_there(problem: AgentError) -> None:
    agents = Scripted(problem, problem, problem)
    assert isinstance(await ask(agents), Claimed)
    assert agents.asked == 4


@pytest.mark.parametrize("code", [ProblemCode.HOLDER_CONFLICT, ProblemCode.UNAUTHORIZED, ProblemCode.INVALID])
async def test_a_final_no_is_told_at_once(code: ProblemCode) -> None:
    agents = Scripted(AgentProblem(code, "no"))
    answer = await ask(agents)
    assert isinstance(answer, Refused)
    assert code in answer.message
    assert agents.asked == 1


async def test_a_bug_ends_the_start_and_is_told() -> None:
    assert isinstance(await ask(Scripted(ZeroDivisionError())), Refused)


async def test_cancelled_claim_tells_nothing() -> None:
    told: list[str] = []
    claims = Claims(Scripted(*[AgentTimeout("late")] * 1000), lambda uid, _: told.append(uid))
    claims.claim("s", TARGET)
    await asyncio.sleep(0)
    claims.cancel("s")
    assert not claims.running("s")
    await claims.close()
    assert told == []


async def test_close_leaves_no_task_behind() -> None:
    claims = Claims(Scripted(*[AgentTimeout("late")] * 1000), lambda *_: None)
    for number in range(3):
        claims.claim(str(number), TARGET)
    await claims.close()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("claim-")] == []
