"""What the sweep notices; and the pieces around it: health, probes, events."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp.test_utils import make_mocked_request

from driftstack_common.kinds import Session
from driftstack_common.kube.client import POD
from driftstack_common.kube.errors import KindGone, Unreachable
from driftstack_common.kube.pages import pages
from driftstack_operator.health import Health
from driftstack_operator.metrics import Metrics
from driftstack_operator.probes import Probes
from driftstack_operator.settings import load_settings
from driftstack_operator.streams import Streams
from driftstack_operator.sweep import AT_A_TIME
from tests.unit.operator.builders import NAMESPACE, UID, pod_body, session_body
from tests.unit.operator.rig import Rig


async def judge(rig: Rig, times: int = 1) -> set[str]:
    """Have the sweep judge the watches by what it lists now."""
    for _ in range(times):
        for scope, listing in await rig.operator.sweep.list_all():
            await rig.operator.sweep._judge(scope, listing)
    return rig.operator.health.blind


@pytest.fixture
async def rig() -> Rig:
    rig = Rig()
    await rig.prime()
    await rig.settle()
    rig.kube.change(POD, "driftstack-browsers", rig.kube.put(POD, pod_body())["metadata"]["name"])
    return rig


async def test_watch_that_delivers_is_healthy(rig: Rig) -> None:
    await rig.ready()
    rig.operator.store.pods.delivered.clear()
    rig.run_pod()
    assert "pods" not in await judge(rig, 2)


async def test_watch_that_misses_a_change_is_blind_until_it_delivers(rig: Rig) -> None:
    watchers, rig.kube.watchers = rig.kube.watchers, []
    rig.run_pod()
    assert "pods" not in await judge(rig)
    assert rig.operator.health.doubtful
    assert "pods" in await judge(rig)
    assert any("pods" in problem for problem in rig.operator.health.problems())
    rig.kube.watchers = watchers
    rig.run_pod()
    assert "pods" not in await judge(rig)


async def test_no_watch_is_blind_while_the_api_server_is_away(rig: Rig) -> None:
    rig.kube.watchers = []
    rig.run_pod()
    assert "pods" in await judge(rig, 2)
    rig.operator.health.unjudged()
    assert rig.operator.health.problems() == []
    assert "pods" not in await judge(rig)


async def test_kind_that_kopf_listed_anew_is_repaired_at_once(rig: Rig) -> None:
    await rig.ready()
    rig.kube.watchers = []
    rig.kube.vanish(POD, "driftstack-browsers", f"browser-{UID}")
    rig.operator.sweep.repair("pods")
    await rig.operator.sweep.repair_relisted()
    assert len(rig.operator.store.pods.group(UID)) == 0
    assert len(rig.operator.store.sessions) == 1


async def test_repair_that_fails_stays_due(rig: Rig) -> None:
    await rig.ready()
    rig.kube.watchers = []
    rig.kube.vanish(POD, "driftstack-browsers", f"browser-{UID}")
    rig.kube.fail("list", "pods", Unreachable("no answer"))
    rig.operator.sweep.repair("pods")
    with pytest.raises(Unreachable):
        await rig.operator.sweep.repair_relisted()
    await rig.operator.sweep.repair_relisted()
    assert len(rig.operator.store.pods.group(UID)) == 0


async def test_kind_that_is_gone_holds_no_other_repair_up(rig: Rig) -> None:
    await rig.ready()
    rig.kube.watchers = []
    rig.kube.vanish(POD, "driftstack-browsers", f"browser-{UID}")
    rig.kube.fail("list", "archetypes", KindGone("404 page not found", status=404))
    for kind in ("archetypes", "pods"):
        rig.operator.sweep.repair(kind)
    await rig.operator.sweep.repair_relisted()
    assert len(rig.operator.store.pods.group(UID)) == 0


async def test_repairs_run_beside_the_rounds(rig: Rig) -> None:
    await rig.ready()
    rig.kube.watchers = []
    rig.kube.vanish(POD, "driftstack-browsers", f"browser-{UID}")
    task = asyncio.create_task(rig.operator.sweep.run())
    rig.operator.sweep.repair("pods")
    await rig.settle()
    assert len(rig.operator.store.pods.group(UID)) == 0
    task.cancel()
    await asyncio.wait([task])


async def test_sweep_lets_starting_sessions_in_between(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        rig.kube.put(Session.KIND, session_body(name=f"s{number}", uid=f"uid-{number}"))
    await rig.settle()
    touched: list[str] = []
    before: list[int] = []
    monkeypatch.setattr(rig.operator, "touch_session", touched.append)

    async def sleep(_: float) -> None:
        before.append(len(touched))

    monkeypatch.setattr("driftstack_operator.sweep.asyncio.sleep", sleep)
    await rig.operator.sweep.touch_all(pause=0.02)
    assert {session.uid for session in rig.operator.store.sessions.values()} <= set(touched)
    assert len(touched) == len(set(touched))
    assert before == list(range(AT_A_TIME, len(touched) + 1, AT_A_TIME))


async def test_list_keeps_no_bodies_and_comes_in_pages(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pages.__kwdefaults__, "limit", 2)
    rig.kube.watchers = []
    for number in range(5):
        rig.kube.put(Session.KIND, session_body(name=f"s{number}", uid=f"uid-{number}"))
    listings = {scope.kind.name: shown for scope, shown in await rig.operator.sweep.list_all()}
    assert {each.uid for each in listings["BrowserSession"]} >= {f"uid-{number}" for number in range(5)}
    assert len(rig.operator.store.sessions) == len(listings["BrowserSession"])
    rig.kube.vanish(Session.KIND, NAMESPACE, "s3")
    await rig.operator.sweep.list_all()
    assert rig.operator.store.sessions.by_uid("uid-3") is None
    assert rig.kube.listed.count("browsersessions") > 3


async def test_object_that_went_meanwhile_proves_nothing(rig: Rig) -> None:
    rig.kube.watchers = []
    rig.run_pod()
    listings = await rig.operator.sweep.list_all()
    rig.kube.vanish(POD, "driftstack-browsers", f"browser-{UID}")
    for scope, listing in listings:
        await rig.operator.sweep._judge(scope, listing)
    assert "pods" not in rig.operator.health.blind


async def test_prime_tries_until_the_api_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftstack_operator.sweep.FIRST_RETRY", 0.001)
    rig = Rig()
    for _ in range(3):
        rig.kube.fail("list", "nodes", Unreachable("no answer"))
    await rig.operator.sweep.prime(asyncio.Event())
    assert rig.kube.faults == []
    assert len(rig.operator.store.accounts) == 1


async def test_prime_gives_up_when_told_to_stop() -> None:
    rig = Rig()
    stop = asyncio.Event()
    stop.set()
    await rig.operator.sweep.prime(stop)
    assert len(rig.operator.store.accounts) == 0


async def test_healthz_says_what_is_wrong() -> None:
    health = Health()
    probes = Probes(health, Metrics(), load_settings())
    request = make_mocked_request("GET", "/healthz")
    assert (await probes.healthz(request)).status == 200
    health.blind.add("pods")
    answer = await probes.healthz(request)
    assert answer.status == 503
    assert json.loads(answer.text or "") == {"problems": ["the watch of pods brings nothing"]}


async def test_readyz_is_honest_about_watches() -> None:
    health = Health(Streams(["pods", "nodes"], 3, lambda _: None))
    probes = Probes(health, Metrics(), load_settings())
    request = make_mocked_request("GET", "/readyz")
    health.primed = True
    answer = await probes.readyz(request)
    assert answer.status == 503
    assert json.loads(answer.text or "") == {"primed": True, "stale": ["pods", "nodes"]}
    assert health.streams is not None
    health.streams.begin()
    assert (await probes.readyz(request)).status == 200


async def test_readyz_follows_the_first_lists() -> None:
    health = Health()
    probes = Probes(health, Metrics(), load_settings())
    request = make_mocked_request("GET", "/readyz")
    assert (await probes.readyz(request)).status == 503
    health.primed = True
    assert (await probes.readyz(request)).status == 200
