"""Random lives of many sessions among all that can go wrong, against what must hold of the cluster at every moment.

`CHAOS=long` plays far longer ones.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from driftstack_common.agent_client import AgentError, AgentProblem, AgentTimeout, AgentUnreachable
from driftstack_common.kinds import Session
from driftstack_common.kube.client import NODE, POD
from driftstack_common.kube.errors import Conflict, Forbidden, Invalid, KubeError, Unreachable
from driftstack_common.protocol import ProblemCode
from tests.unit.operator.builders import NAMESPACE, ended, exited
from tests.unit.operator.rig import BROWSERS
from tests.unit.operator.world import NODES, Died, World

LONG = os.environ.get("CHAOS") == "long"
NAMES = st.sampled_from([f"s{number}" for number in range(5)])
SOME = st.lists(NAMES, min_size=1, max_size=4, unique=True)
WRITES = st.sampled_from(
    [
        ("create", "pods"),
        ("patch", "pods"),
        ("patch", "browserpools"),
        ("patch", "browsersessions"),
        ("create", "sessionrecords"),
        ("create", "events"),
        ("delete", "pods"),
        ("delete", "browsersessions"),
    ]
)
LOST = Unreachable("no answer")
REFUSALS = st.sampled_from(
    [
        ("create", "pods", Forbidden("a policy", status=403)),
        ("create", "pods", KubeError("etcdserver: leader changed", status=500)),
        ("patch", "pods", KubeError("etcdserver: leader changed", status=500)),
        ("patch", "pods", Invalid("the test failed", status=422)),
        ("patch", "browsersessions", Conflict("changed", status=409)),
        ("patch", "browsersessions", Invalid("denied", status=422)),
        ("create", "sessionrecords", KubeError("limit is 3145728", status=413)),
        ("create", "sessionrecords", KubeError("etcdserver: leader changed", status=500)),
        ("create", "events", KubeError("too many requests", status=429)),
        ("delete", "pods", KubeError("etcdserver: leader changed", status=500)),
        ("delete", "browsersessions", KubeError("etcdserver: leader changed", status=500)),
    ]
)
ENDS = st.sampled_from(
    [
        ended("browser-crashed"),
        ended("idle", exit_code=0),
        ended("out-of-memory"),
        ended("start-failed"),
        exited(137),
        exited(137, "OOMKilled"),
    ]
)
AGENTS: list[AgentError | None] = [
    None,
    AgentUnreachable("refused", sent=False),
    AgentTimeout("late"),
    AgentProblem(ProblemCode.HOLDER_CONFLICT, "claimed by another"),
]


class Lives(RuleBasedStateMachine):
    """A cluster that people, nodes, networks and the operator's own death play with."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = World()

    def play(self, *acts: Coroutine[Any, Any, None]) -> None:
        """Do something, and have the operator do what follows."""

        async def all_of_it() -> None:
            for act in acts:
                await act
            await self.world.settle()

        self.loop.run_until_complete(all_of_it())

    @initialize(names=SOME, node=st.sampled_from(NODES), warm=st.integers(0, 3))
    def begin(self, names: list[str], node: str, warm: int) -> None:
        self.world.rig.change_pool(replicas=warm)
        self.play(self.world.begin())
        self.start_warm_pods(node)
        self.create(names)
        self.start_pods(names, node)

    # -- people

    @rule(names=SOME)
    def create(self, names: list[str]) -> None:
        for name in names:
            self.world.create(name)
        self.play()

    @rule(names=SOME)
    def delete(self, names: list[str]) -> None:
        self.play(*(self.world.delete(name) for name in names))

    @precondition(lambda self: self.world.count > 5)  # nothing is created afterwards
    @rule()
    def delete_namespace(self) -> None:
        self.play(self.world.terminate())

    # -- facades

    @rule(names=SOME)
    def begin_steps(self, names: list[str]) -> None:
        for name in names:
            session = self.world.rig.session(name)
            if session is not None and (session.get("status") or {}).get("phase") == "ready":
                step = session["status"].get("step", 0) + 1
                self.world.kube.change(Session.KIND, NAMESPACE, name, phase="busy", step=step)
        self.play()

    # -- nodes and pods

    @rule(names=SOME, node=st.sampled_from(NODES))
    def start_pods(self, names: list[str], node: str) -> None:
        for pod in filter(None, map(self.world.pod, names)):
            self.world.run_pod(pod, node)
        self.play()

    @rule(node=st.sampled_from(NODES))
    def start_warm_pods(self, node: str) -> None:
        self.world.run_warm_pods(node)
        self.play()

    @rule()
    def nodes_are_full(self) -> None:
        self.world.refuse_pods()
        self.play()

    @rule(name=NAMES, state=ENDS)
    def container_ends(self, name: str, state: dict[str, Any]) -> None:
        if pod := self.world.pod(name):
            self.world.end_pod(pod, state)
            self.play()

    @rule(number=st.integers(0, 3), how=st.sampled_from(["deleted", "gone", "ended"]), state=ENDS)
    def a_warm_pod_goes(self, number: int, how: str, state: dict[str, Any]) -> None:
        pod = self.world.warm_pod(number)
        if pod is None:
            return
        if how == "deleted":
            self.play(self.world.delete_pod(pod))
        elif how == "gone":
            self.world.kube.vanish(POD, BROWSERS, pod)
        else:
            self.world.end_pod(pod, state)
        self.play()

    @rule(replicas=st.integers(0, 3), image=st.sampled_from(["a:1", "a:2"]))
    def the_pool_changes(self, replicas: int, image: str) -> None:
        self.world.rig.change_pool(replicas=replicas, image=image)
        self.play()

    @rule()
    def the_pool_is_replaced(self) -> None:
        self.play(self.world.replace_pool())

    @rule(name=NAMES, how=st.sampled_from(["deleted", "gone", "doubled"]))
    def somebody_meddles_with_a_pod(self, name: str, how: str) -> None:
        pod = self.world.pod(name)
        if pod is None:
            return
        if how == "deleted":
            self.play(self.world.delete_pod(pod))
        elif how == "gone":
            self.world.kube.vanish(POD, BROWSERS, pod)
        else:
            self.world.double_pod(pod)
        self.play()

    @rule()
    def kubelet_stops_pods(self) -> None:
        self.world.stop_pods()
        self.play()

    @rule(node=st.sampled_from(NODES), how=st.sampled_from(["Unknown", "True", "replaced"]))
    def node(self, node: str, how: str) -> None:
        if how == "replaced":
            self.world.kube.vanish(NODE, None, node)
            self.play()
            self.world.kube.put_node(node)
        else:
            self.world.kube.change(NODE, None, node, conditions=[{"type": "Ready", "status": how}])
        self.play()

    @rule(problem=st.sampled_from(AGENTS), step=st.sampled_from([None, "navigate"]))
    def agents_say(self, problem: AgentError | None, step: str | None) -> None:
        self.world.agents.problem, self.world.agents.step = problem, step

    @rule(mute=st.booleans())
    def answers_of_agents_are_lost(self, mute: bool) -> None:
        self.world.agents.mute = mute

    # -- between API server and operator

    @rule(how=st.sampled_from(["late", "lost", "prompt"]), again=st.none() | st.integers(0, 30))
    def watches(self, how: str, again: int | None) -> None:
        if how == "prompt":
            self.world.wire.catch_up()
        self.world.wire.how = how
        if again is not None:
            self.world.wire.repeat(again)
        self.play()

    @rule(write=WRITES, after=st.booleans(), error=st.sampled_from([LOST, Died()]))
    def a_write_gets_no_answer(self, write: tuple[str, str], after: bool, error: KubeError | Died) -> None:
        self.world.fail(*write, error, after=after)

    @rule(fault=REFUSALS)
    def a_write_is_refused(self, fault: tuple[str, str, KubeError]) -> None:
        self.world.fail(*fault, after=False)

    # -- the operator

    @rule()
    def it_dies(self) -> None:
        self.play(self.world.die())

    @rule(seconds=st.sampled_from([0.0, 6.0, 31.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.later(seconds)
        self.play(self.world.sweep())

    @invariant()
    def what_holds(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        try:
            self.loop.run_until_complete(self.world.wind_up())
        finally:
            self.loop.run_until_complete(self.world.rig.operator.sessions.close())
            self.loop.close()


class TestLives(Lives.TestCase):  # type: ignore[misc] # hypothesis has no type for it
    """Nothing is lost, leaked or stuck."""

    pytestmark = pytest.mark.timeout(1800 if LONG else 180)
    settings = settings(
        max_examples=1000 if LONG else 40,
        stateful_step_count=80 if LONG else 30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
