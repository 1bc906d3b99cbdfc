"""An operator that does not lead: it sees everything, writes nothing, and can lead at once."""

from __future__ import annotations

import asyncio
from uuid import UUID

from driftstack_common.kinds import Session
from driftstack_common.kube.client import POD
from driftstack_common.kube.errors import Unreachable
from tests.unit.operator.builders import NAMESPACE, UID, ended
from tests.unit.operator.rig import Rig


async def work_off(rig: Rig) -> None:
    """Work on whatever the operator has in its queue, once."""
    queue = rig.operator.queue
    while queue.depth:
        await queue.work_on(queue.take())
    await asyncio.sleep(0)


async def test_a_standby_takes_nothing_on_and_remembers_nobody_who_has_gone() -> None:
    rig = Rig()
    await rig.operator.sweep.prime(asyncio.Event())
    for number in range(20):
        rig.create(f"s{number}", str(UUID(int=number, version=4)))
    assert len(rig.operator.sessions.tracks) == 20
    for number in range(20):
        rig.kube.vanish(Session.KIND, NAMESPACE, f"s{number}")
    assert (rig.operator.queue.depth, len(rig.operator.sessions.tracks)) == (0, 0)
    assert rig.kube.calls == []


async def test_a_standby_does_all_that_waits_when_it_leads() -> None:
    rig = Rig()
    await rig.operator.sweep.prime(asyncio.Event())
    rig.create()
    await work_off(rig)
    assert rig.pod() is None
    await rig.prime()
    await rig.settle()
    assert rig.pod() is not None


async def test_an_old_leader_that_wakes_writes_nothing() -> None:
    rig = Rig()
    await rig.prime()
    await rig.settle()
    rig.create()  # it is about to make the pod
    paused = rig.operator  # it is stopped for longer than its lease
    await rig.restart()
    await rig.settle()
    rig.run_pod()
    await rig.settle()
    before = list(rig.kube.calls)

    leader, rig.operator = rig.operator, paused
    paused.touch_session(UID)
    await work_off(rig)
    assert rig.kube.calls == before
    rig.operator = leader

    rig.end_pod(**ended("browser-crashed"))
    await rig.settle()
    assert rig.writes(POD).count(("create", "pods")) == 1
    assert rig.record() is not None


async def test_what_a_term_had_in_mind_ends_with_it() -> None:
    rig = Rig()
    await rig.prime()
    rig.kube.fail("create", "pods", Unreachable("no answer"))
    rig.create()
    await work_off(rig)
    track = rig.operator.sessions.tracks.get(UID)
    assert track is not None
    assert track.reserved
    await rig.operator.end()
    rig.operator.touch_session(UID)
    after = rig.operator.sessions.tracks.get(UID)
    assert after is not None
    assert not after.reserved
    assert rig.operator.queue.depth == 0

    await rig.prime()
    await rig.settle()
    assert rig.pod() is not None
