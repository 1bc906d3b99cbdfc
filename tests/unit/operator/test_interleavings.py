"""Random lives of many sessions, with crashes and failed writes, against what must always hold."""

from __future__ import annotations

import asyncio
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from driftstack_common.kinds import Record, Session
from driftstack_common.kube.client import POD
from driftstack_common.kube.errors import NotFound, Unreachable
from driftstack_common.names import LABEL_SESSION
from tests.unit.operator.builders import NAMESPACE, Body, ended
from tests.unit.operator.rig import BROWSERS, Rig

CAP = 2
SESSIONS = 5

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["create", "delete", "run", "crash", "pod deleted", "vanish", "dies", "lost", "unanswered"]
        ),
        st.integers(0, SESSIONS - 1),
    ),
    max_size=25,
)
WRITES = [("create", "pods"), ("patch", "browsersessions"), ("create", "sessionrecords"), ("delete", "pods")]


class World:
    """A rig, and what has been seen of it."""

    def __init__(self) -> None:
        self.rig = Rig(cap=CAP, surplus_seconds=0)
        self.created: set[int] = set()
        self.records: dict[str, Body] = {}

    async def do(self, operation: str, number: int) -> None:
        name, uid = f"s{number}", _uid(number)
        try:
            if operation == "create" and number not in self.created:
                self.created.add(number)
                self.rig.create(name, uid)
            elif operation == "delete":
                await self.rig.kube.delete(Session.KIND, NAMESPACE, name)
            elif operation == "dies":
                await self.rig.restart()
            elif operation in ("lost", "unanswered"):
                verb, plural = WRITES[number % len(WRITES)]
                self.rig.kube.fail(verb, plural, Unreachable("no answer"), after=operation == "unanswered")
            else:
                await self.to_pod(operation, uid)
        except (NotFound, Unreachable):  # it is gone; or a planned failure has met the person, not the operator
            return

    async def to_pod(self, operation: str, uid: str) -> None:
        if self.rig.pod(uid) is None:
            return
        if operation == "run":
            self.rig.run_pod(uid)
        elif operation == "crash":
            self.rig.end_pod(uid, **ended("browser-crashed"))
        elif operation == "pod deleted":
            await self.rig.kube.delete(POD, BROWSERS, f"browser-{uid}")
        else:
            self.rig.kube.vanish(POD, BROWSERS, f"browser-{uid}")

    def check(self) -> None:
        """What holds at every moment."""
        kube = self.rig.kube
        pods = [pod["metadata"] for pod in kube.all(POD) if "deletionTimestamp" not in pod["metadata"]]
        owners = [meta["labels"][LABEL_SESSION] for meta in pods]
        assert len(owners) == len(set(owners)), "one pod per session"
        live = {session["metadata"]["uid"] for session in kube.all(Session.KIND)}
        assert sum(owner in live for owner in owners) <= CAP, "browsers never above the cap"
        records = {record["metadata"]["name"]: record["spec"] for record in kube.all(Record.KIND)}
        for uid, spec in self.records.items():
            assert records[uid] == spec, "no terminal phase is ever left"
        self.records = records

    async def wind_up(self) -> None:
        """Delete everything; then nothing may be left but records."""
        self.rig.kube.faults.clear()
        for session in list(self.rig.kube.all(Session.KIND)):
            await self.do("delete", int(session["metadata"]["name"][1:]))
        for _ in range(3):
            await self.rig.operator.sweep.touch_all()
            await self.rig.settle()
        self.check()
        assert self.rig.kube.all(Session.KIND) == []
        assert set(self.records) == {_uid(number) for number in self.created}, "a record for every end"
        leaked = [pod for pod in self.rig.kube.all(POD) if "deletionTimestamp" not in pod["metadata"]]
        assert leaked == []


async def play(operations: list[tuple[str, int]]) -> None:
    world = World()
    await world.rig.prime()
    for operation, number in operations:
        await world.do(operation, number)
        await world.rig.settle()
        world.check()
    await world.wind_up()
    await world.rig.operator.sessions.close()


@settings(max_examples=150, deadline=None)
@given(OPERATIONS)
def test_nothing_is_lost_leaked_or_stuck(operations: list[tuple[str, int]]) -> None:
    asyncio.run(play(operations))


def _uid(number: int) -> str:
    return str(UUID(int=number + 1, version=4))
