"""What an account has used: sums, records and live sessions, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from driftstack import AsyncDriftstack, Driftstack

from driftstack_common.kube.errors import KindGone
from driftstack_common.times import now
from tests.integration.api.test_auth import known
from tests.integration.api.test_client import served
from tests.integration.api.test_problems import check
from tests.integration.api.world import Facade, World, application, facade, record_of
from tests.unit.api.polling import until

KINDS = ("session_minute", "navigate", "interact", "wait", "state_capture", "screenshot_capture")
TODAY = datetime(2026, 5, 12, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of day that usage goes by; sessions of a test began at the true one."""
    monkeypatch.setattr("driftstack_api.usage.service.now", lambda: TODAY)


def totals(**counts: int) -> dict[str, int]:
    return {**dict.fromkeys(KINDS, 0), **counts}


def put_record(world: World, uid: str, day: str, ready: bool = True, seconds: int = 90, **steps: int) -> None:
    """Put the record of a session that ended at that day's noon."""
    end = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    body = {
        "metadata": {"name": uid, "namespace": "acct-acme", "uid": uid, "creationTimestamp": f"{day}T11:00:00Z"},
        "spec": {},
    }
    record = record_of(body)
    created = (end - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    record["spec"] |= {
        "createdAt": created,
        "endedAt": end.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "durationMilliseconds": seconds * 1000,
        "usage": {day: steps},
    }
    if ready:
        record["spec"]["readyAt"] = created
    world.kube.put("sessionrecords", record)


def put_sums(world: World, days: dict[str, dict[str, int]], folded: tuple[str, ...] = ()) -> None:
    meta = {"name": "usage", "namespace": "acct-acme"}
    world.kube.put("accountusages", {"metadata": meta, "spec": {"days": days, "folded": list(folded)}})


async def used(api: Facade) -> dict[str, Any]:
    answer = await api.call("GET", "/v1/usage")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def until_used(api: Facade, **counts: int) -> None:
    """Wait until the copies have brought the totals to this."""
    await eventually(lambda: used(api), lambda shown: shown["totals"] == totals(**counts))


async def eventually(look: Callable[[], Awaitable[Any]], good: Callable[[Any], bool]) -> None:
    async with asyncio.timeout(10):
        while not good(await look()):  # noqa: ASYNC110 - what is looked at tells nobody
            await asyncio.sleep(0.01)


async def test_an_account_that_has_used_nothing(api: Facade) -> None:
    assert await used(api) == {
        "period_start": "2026-05-01T00:00:00.000Z",
        "period_end": "2026-06-01T00:00:00.000Z",
        "tier": "api_builder",
        "totals": totals(),
        "quotas": dict.fromkeys(KINDS),
    }


async def test_records_count_once_and_sums_with_them(api: Facade, world: World) -> None:
    put_record(world, "u1", "2026-05-11", navigate=2)
    put_record(world, "u2", "2026-05-12", screenshotCapture=1)
    await until_used(api, session_minute=4, navigate=2, screenshot_capture=1)
    put_sums(world, {"2026-05-11": {"sessionMinute": 2, "navigate": 2}}, folded=("u1",))
    await until(lambda: api.app.state.services.caches.usage.of_namespace("acct-acme").folded)
    await until_used(api, session_minute=4, navigate=2, screenshot_capture=1)
    world.kube.remove("sessionrecords", "acct-acme", "u1")
    await until(lambda: api.app.state.services.caches.sessions.get("u1") is None)
    assert (await used(api))["totals"] == totals(session_minute=4, navigate=2, screenshot_capture=1)
    world.kube.remove("accountusages", "acct-acme", "usage")
    await until_used(api, session_minute=2, screenshot_capture=1)


async def test_other_months_are_not_in_the_period(api: Facade, world: World) -> None:
    put_record(world, "old", "2026-04-30", navigate=2)
    put_record(world, "new", "2026-05-01", wait=1)
    put_sums(world, {"2026-04-30": {"interact": 5}, "2026-05-02": {"interact": 1}, "2026-06-01": {"interact": 7}})
    await until_used(api, session_minute=2, wait=1, interact=1)


@pytest.mark.parametrize(
    ("today", "start", "end"),
    [
        (date(2026, 12, 31), "2026-12-01", "2027-01-01"),
        (date(2028, 2, 29), "2028-02-01", "2028-03-01"),
        (date(2026, 1, 31), "2026-01-01", "2026-02-01"),
    ],
)
async def test_months(api: Facade, monkeypatch: pytest.MonkeyPatch, today: date, start: str, end: str) -> None:
    moment = datetime.combine(today, datetime.max.time(), UTC)
    monkeypatch.setattr("driftstack_api.usage.service.now", lambda: moment)
    shown = await used(api)
    assert (shown["period_start"], shown["period_end"]) == (f"{start}T00:00:00.000Z", f"{end}T00:00:00.000Z")


async def test_a_session_that_never_became_ready_used_no_minutes(api: Facade, world: World) -> None:
    put_record(world, "u1", "2026-05-12", ready=False, seconds=3600)
    put_record(world, "u2", "2026-05-12", wait=1)
    await until_used(api, session_minute=2, wait=1)


async def test_live_sessions_count_by_what_their_agents_say(
    api: Facade, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftstack_api.usage.service.now", now)
    uid = (await api.ready())["id"].removeprefix("ses_")
    world.agent.usage[uid] = {now().date().isoformat(): {"navigate": 3, "stateCapture": 1}}
    await until_used(api, session_minute=1, navigate=3, state_capture=1)
    world.agent.usage[uid] = {"2020-01-01": {"navigate": 4}}
    await until_used(api, session_minute=1, navigate=4)


async def test_a_session_that_is_creating_uses_nothing(api: Facade, world: World) -> None:
    world.operator.start = False
    await api.create()
    assert (await used(api))["totals"] == totals()
    assert world.agent.asked == []


async def test_an_agent_that_does_not_answer_holds_the_call_up_for_a_moment_only(
    api: Facade, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftstack_api.usage.service.now", now)
    monkeypatch.setattr("driftstack_api.usage.service.ASK_SECONDS", 0.1)
    await api.ready()
    world.agent.hold.clear()
    assert (await used(api))["totals"] == totals(session_minute=1)
    world.agent.hold.set()


async def test_calls_at_the_same_time_ask_once(api: Facade, world: World) -> None:
    await api.ready()
    world.agent.hold.clear()
    calls = [asyncio.create_task(used(api)) for _ in range(5)]
    await until(lambda: world.agent.asked)
    # All have passed the door once the last has taken its token.
    world.agent.hold.set()
    await asyncio.gather(*calls)
    assert len(world.agent.asked) < 5


async def test_series_has_every_day_and_yesterday_last(api: Facade, world: World) -> None:
    put_sums(world, {"2026-05-10": {"wait": 1}, "2026-04-11": {"wait": 7}, "2026-05-12": {"wait": 9}})
    await until(lambda: api.app.state.services.caches.usage.of_namespace("acct-acme").days)
    answer = (await api.call("GET", "/v1/usage/series?days=3")).json()
    assert answer == {
        "from_date": "2026-05-09",
        "to_date": "2026-05-11",
        "buckets": [
            {"date": "2026-05-09", "totals": {}},
            {"date": "2026-05-10", "totals": totals(wait=1)},
            {"date": "2026-05-11", "totals": {}},
        ],
    }
    default = (await api.call("GET", "/v1/usage/series")).json()
    assert (default["from_date"], len(default["buckets"])) == ("2026-04-12", 30)
    most = (await api.call("GET", "/v1/usage/series?days=90")).json()
    assert len(most["buckets"]) == 90
    assert {"date": "2026-04-11", "totals": totals(wait=7)} in most["buckets"]


@pytest.mark.parametrize("query", ["days=0", "days=91", "days=x", "days=1.5", "days=", "day=3", "days=1_0"])
async def test_other_series_are_refused(api: Facade, query: str) -> None:
    check(await api.call("GET", f"/v1/usage/series?{query}"), 400, "validation-failed")


@pytest.mark.parametrize("path", ["/v1/usage", "/v1/usage/series"])
async def test_usage_needs_the_broad_scope(api: Facade, world: World, path: str) -> None:
    for name, scopes, allowed in (("broad", ["read"], True), ("narrow", ["read:sessions", "write"], False)):
        world.add_key("acme", name, scopes)
        await known(api, name)
        answer = await api.call("GET", path, key=name)
        if allowed:
            assert answer.status_code == 200
        else:
            assert "`read`" in check(answer, 403, "forbidden")["detail"]


async def test_others_usage_is_theirs(api: Facade, world: World) -> None:
    world.add_account("other")
    await known(api, "other")
    put_record(world, "u1", "2026-05-12", wait=1)
    await until_used(api, session_minute=2, wait=1)
    assert (await api.call("GET", "/v1/usage", key="other")).json()["totals"] == totals()


async def test_a_cluster_without_the_kind_serves_all_else(world: World) -> None:
    world.kube.fail("list accountusages", KindGone("not there", status=404))
    async with facade(world) as api:
        check(await api.call("GET", "/v1/usage"), 503, "feature-unavailable")
        await api.ready()
        assert (await api.call("GET", "/readyz", key=None)).status_code == 200
        world.kube.fail("list accountusages", None)
        await until(lambda: api.app.state.services.caches.usage_fresh)
        assert (await used(api))["tier"] == "api_builder"


async def test_the_published_clients_read_it(world: World) -> None:
    put_record(world, "u1", "2026-05-11", navigate=2)
    async with application(world) as app, served(app) as url:
        await until(lambda: app.state.services.caches.sessions.get("u1"))
        await asyncio.to_thread(_read, url, world.keys["acme"].plaintext)
        async with AsyncDriftstack(world.keys["acme"].plaintext, base_url=url) as client:
            assert (await client.usage.current_period()).totals.navigate == 2
            assert (await client.usage.series(days=1))["buckets"][0]["totals"]["session_minute"] == 2


def _read(url: str, key: str) -> None:
    with Driftstack(key, base_url=url) as client:
        period = client.usage.current_period()
        assert (period.tier, period.totals.navigate, period.totals.session_minute) == ("api_builder", 2, 2)
        assert period.quotas.navigate is None
        assert period.period_end == datetime(2026, 6, 1, tzinfo=UTC)
        assert len(client.usage.series()["buckets"]) == 30
