"""What goes wrong around an operator, and what must hold of the cluster whatever does."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections import defaultdict
from uuid import UUID

from driftstack_common.agent_client import AgentProblem, AgentTimeout
from driftstack_common.kinds import Pool, Record, Session
from driftstack_common.kube.client import EVENT, POD
from driftstack_common.kube.errors import KubeError
from driftstack_common.names import LABEL_SESSION
from driftstack_common.protocol import Claim, Claimed, ProblemCode
from tests.unit.operator.builders import NAMESPACE, Body, condition, pool_body
from tests.unit.operator.fakes import FakeAgents, FakeKube
from tests.unit.operator.rig import BROWSERS, RUNNING, Deliver, Rig

CAP = 3
NODES = ("local", "spare")


class Died(BaseException):
    """The operator's process ends at once, at the write that this is planned for."""


class Agents(FakeAgents):
    """Agents that keep to one session each.

    Attributes:
        mute: they do what they are asked, but their answers are lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mute = False

    async def claim(
        self, address: str, token: str, claim: Claim, *, timeout: float = 0, connect_timeout: float = 0
    ) -> Claimed:
        if self.holders.get(address, claim.session) != claim.session:
            raise AgentProblem(ProblemCode.HOLDER_CONFLICT, "claimed by another")
        answer = await super().claim(address, token, claim)
        if self.mute:
            raise AgentTimeout("the answer was lost")
        return answer


class Wire:
    """Carries watch events: at once, late but in order, or not at all; and old ones again.

    Attributes:
        how: prompt, late or lost.
    """

    def __init__(self) -> None:
        self.how = "prompt"
        self._late: list[tuple[str, str, Body]] = []
        self._sent: list[tuple[str, str, Body]] = []
        self._deliver: Deliver | None = None

    def __call__(self, deliver: Deliver, plural: str, event: str, body: Body) -> None:
        """Take an event of the API server's in."""
        self._deliver = deliver
        if self.how == "prompt":
            self._send((plural, event, body))
        elif self.how == "late":
            self._late.append((plural, event, body))

    def catch_up(self) -> None:
        """Bring what is late, and be prompt again."""
        self.how = "prompt"
        late, self._late = self._late, []
        for message in late:
            self._send(message)

    def repeat(self, number: int) -> None:
        """Bring an event once more, as a watch that begins again may."""
        if self._sent:
            self._deliver_now(self._sent[-1 - number % len(self._sent)])

    def cut(self) -> None:
        """Forget what is under way: its receiver has died."""
        self._late.clear()

    def _send(self, message: tuple[str, str, Body]) -> None:
        self._sent.append(message)
        self._deliver_now(message)

    def _deliver_now(self, message: tuple[str, str, Body]) -> None:
        if self._deliver is not None:
            self._deliver(*message)


class World:
    """An operator in a cluster, and what has been seen of it.

    Attributes:
        created: uids of all sessions ever made, by name.
        count: how many those are.
        excused: sessions that ended in a namespace that takes no records any more.
    """

    def __init__(self) -> None:
        self.agents = Agents()
        self.rig = Rig(cap=CAP, agents=self.agents, surplus_seconds=0, start_timeout_seconds=60)
        self.rig.wire = self.wire = Wire()
        self.created: dict[str, list[str]] = defaultdict(list)
        self.excused: set[str] = set()
        self._records: dict[str, Body] = {}
        self._addresses = itertools.count(1)
        self.count = 0

    @property
    def kube(self) -> FakeKube:
        """The API server."""
        return self.rig.kube

    # -- what people and machines do

    async def begin(self) -> None:
        """Start the operator."""
        self.kube.put_node(NODES[1])
        await self.rig.prime()
        await self.rig.settle()

    def create(self, name: str) -> None:
        """Create a session; one of the same name may have been there before."""
        if self.rig.session(name) is None and not self.kube.terminating:
            self.count += 1
            uid = str(UUID(int=self.count, version=4))
            self.created[name].append(uid)
            self.rig.create(name, uid)

    async def delete(self, name: str) -> None:
        """Delete a session, if there is one."""
        if self.rig.session(name) is not None:
            with self.kube.sound():
                await self.kube.delete(Session.KIND, NAMESPACE, name)

    def pod(self, name: str) -> str | None:
        """Return the name of the pod of the session of this name, one of a pool's or its own."""
        uid = self.created[name][-1] if self.created[name] else ""
        return next((pod["name"] for pod in self._pods() if pod["labels"].get(LABEL_SESSION) == uid), None)

    def warm_pod(self, number: int) -> str | None:
        """Return the name of one of the warm pods."""
        warm = [pod["metadata"]["name"] for pod in self.rig.warm_pods()]
        return warm[number % len(warm)] if warm else None

    def run_pod(self, pod: str, node: str) -> None:
        """The kubelet starts a pod that no node has yet."""
        body = self.kube.objects[(POD.plural, BROWSERS, pod)]
        if not body["spec"].get("nodeName"):
            body["spec"]["nodeName"] = node
            conditions = [condition("PodScheduled", "True")]
            address = f"10.0.0.{next(self._addresses)}"
            self.kube.change(POD, BROWSERS, pod, **{**RUNNING, "podIP": address, "conditions": conditions})

    def run_warm_pods(self, node: str) -> None:
        """The kubelet starts the warm pods."""
        for pod in self.rig.warm_pods():
            self.run_pod(pod["metadata"]["name"], node)

    def refuse_pods(self) -> None:
        """The scheduler finds no room for the pods that have no node."""
        conditions = [condition("PodScheduled", "False", "Unschedulable", "0/2 nodes: 2 Insufficient cpu")]
        for pod in self.kube.all(POD):
            if not pod["spec"].get("nodeName"):
                self.kube.change(POD, BROWSERS, pod["metadata"]["name"], conditions=conditions)

    def end_pod(self, pod: str, state: Body) -> None:
        """The pod's container ends."""
        containers = [{"name": "browser", "state": state}]
        self.kube.change(POD, BROWSERS, pod, phase="Failed", containerStatuses=containers)

    async def delete_pod(self, pod: str) -> None:
        """Somebody deletes a pod."""
        with self.kube.sound():
            await self.kube.delete(POD, BROWSERS, pod)

    async def replace_pool(self) -> None:
        """Somebody deletes the pool and makes one of the same name; its warm pods are collected with it."""
        pool = self.rig.pool()
        self.kube.vanish(Pool.KIND, BROWSERS, "default")
        for pod in self.rig.warm_pods():
            await self.delete_pod(pod["metadata"]["name"])
        self.kube.put(Pool.KIND, pool_body(**pool["spec"]))

    def double_pod(self, pod: str) -> None:
        """Somebody copies a pod, label and all."""
        body = copy.deepcopy(self.kube.objects[(POD.plural, BROWSERS, pod)])
        del body["metadata"]["uid"]
        body["metadata"]["name"] = name = f"copy-of-{pod}"
        if (POD.plural, BROWSERS, name) not in self.kube.objects:
            self.kube.put(POD, body)

    def stop_pods(self) -> None:
        """The kubelet has stopped what is being deleted."""
        for pod in self.kube.all(POD):
            if "deletionTimestamp" in pod["metadata"]:
                self.kube.vanish(POD, BROWSERS, pod["metadata"]["name"])

    async def terminate(self) -> None:
        """The account's namespace is deleted: nothing new, and everything in it goes."""
        self.kube.terminating.add(NAMESPACE)
        for session in self.kube.all(Session.KIND):
            self.excused.add(session["metadata"]["uid"])
            await self.delete(session["metadata"]["name"])

    def later(self, seconds: float) -> None:
        """Let time pass, as far as the operator's own clocks go."""
        for uid in [uid for uids in self.created.values() for uid in uids]:
            track = self.rig.operator.sessions.tracks.get(uid)
            if track is not None:
                track.seen -= seconds
                track.busy_since -= seconds
                track.gave_way_at -= seconds
                track.asked_since = None if track.asked_since is None else track.asked_since - seconds
        for memory in self.rig.operator.pools.memories._memories.values():
            memory.blocked_until -= seconds
            memory.written_at -= seconds

    async def die(self) -> None:
        """The operator is killed; another one takes over, and lists while its watches begin."""
        self.wire.cut()
        with self.kube.sound():
            await self.rig.restart()

    async def sweep(self) -> None:
        """The half minute is over."""
        with self.kube.sound():
            await self.rig.operator.sweep.list_all()
            await self.rig.operator.sweep.touch_all()

    async def settle(self) -> None:
        """Have the operator do what it can, and start it again whenever it dies of it."""
        while True:
            try:
                await self.rig.settle()
            except Died:
                await self.die()
            else:
                return

    # -- what must hold

    def check(self) -> None:
        """What holds at every moment."""
        self._check_pods()
        self._check_records()
        self._check_ends()

    def _pods(self) -> list[Body]:
        """Return the metadata of the pods that are not being deleted, nor anybody's copy."""
        metas: list[Body] = [pod["metadata"] for pod in self.kube.all(POD)]
        return [m for m in metas if "deletionTimestamp" not in m and not m["name"].startswith("copy-")]

    def _check_pods(self) -> None:
        owners = [meta["labels"][LABEL_SESSION] for meta in self._pods() if LABEL_SESSION in meta["labels"]]
        assert len(owners) == len(set(owners)), "one pod per session"
        self._check_ready()
        live = {session["metadata"]["uid"] for session in self.kube.all(Session.KIND)}
        assert sum(owner in live for owner in owners) <= CAP, "browsers never above the cap"
        served: dict[str, set[str]] = defaultdict(set)
        for address, _, claim in self.agents.claimed:
            served[address].add(claim.session)
        assert all(len(sessions) == 1 for sessions in served.values()), "at most one session per pod"

    def _check_ready(self) -> None:
        """Who is called ready has its agent's word, and its pod no other's label."""
        for session in self.kube.all(Session.KIND):
            browser = (session.get("status") or {}).get("browser")
            pod = self.kube.objects.get((POD.plural, BROWSERS, browser["pod"])) if browser else None
            if browser and pod is not None:
                uid = session["metadata"]["uid"]
                assert pod["metadata"]["labels"].get(LABEL_SESSION) == uid, "the pod is labelled as the session's"
                assert not pod["metadata"].get("ownerReferences"), "it would go with its pool"
                assert self.agents.holders[browser["address"]] == uid, "the agent serves it"

    def _check_records(self) -> None:
        records = {record["metadata"]["name"]: record["spec"] for record in self.kube.all(Record.KIND)}
        for uid, spec in self._records.items():
            assert records.get(uid) == spec, "no terminal phase is ever left"
        self._records = records

    def _check_ends(self) -> None:
        live = {session["metadata"]["uid"] for session in self.kube.all(Session.KIND)}
        told: dict[str, list[Body]] = defaultdict(list)
        for event in self.kube.all(EVENT):
            if event["involvedObject"]["kind"] == Record.KIND.name:
                told[event["involvedObject"]["name"]].append(event)
        for uid in {uid for uids in self.created.values() for uid in uids} - live:
            assert uid in self._records or uid in self.excused, "a record for every end"
            reasons = [event["reason"] for event in told[uid]]
            recorded = uid in self._records and uid not in self.excused
            assert not recorded or reasons == [self._records[uid]["reason"]], "one Event for every record"

    async def wind_up(self) -> None:
        """Let everything work again and delete all sessions; then nothing may be left but records and Events."""
        self.kube.faults.clear()
        self.agents.problem = None
        self.agents.mute = False
        self.wire.catch_up()
        self.rig.change_pool(replicas=0)
        for name in list(self.created):
            await self.delete(name)
        for _ in range(3):
            await self.sweep()
            await self.settle()
            self.stop_pods()
        await self.settle()
        self.check()
        assert self.kube.all(Session.KIND) == []
        assert self.kube.all(POD) == [], "no pod is leaked, nor anybody's copy"
        assert len(self.rig.operator.sessions.tracks) == 0, "nothing is remembered of what is gone"
        tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith(("claim-", "ask-", "warm-"))]
        assert tasks == [], "no agent is asked any more"

    def fail(self, verb: str, plural: str, error: KubeError | Died, *, after: bool) -> None:
        """Have the next such write of the operator fail, or be its last."""
        self.kube.fail(verb, plural, error, after=after)
