"""The steps that act on a page and read it: what the agent is asked, what callers get, what is refused."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.integration.api.test_auth import known
from tests.integration.api.test_problems import check
from tests.integration.api.world import ANSWERS, NOTICE, STATE, Facade, World

TAP = {"kind": "tap", "selector": "#b"}
LIST = {"name": "rows", "selector": "tr", "type": "list", "extract": {"n": {"type": "text", "selector": "td"}}}


async def post(api: Facade, session: dict[str, Any], step: str, body: Any) -> httpx2.Response:
    return await api.call("POST", f"/v1/sessions/{session['id']}/{step}", json=body)


@pytest.mark.parametrize(
    "action",
    [
        TAP,
        {"kind": "type", "selector": "#f", "text": "x", "delay_ms": 5, "sensitive": True},
        {"kind": "type", "selector": "#f", "text": "", "delay_ms": None, "sensitive": None},
        {"kind": "scroll", "delta_y": 500},
        {"kind": "scroll", "selector": "#b", "delta_x": -1, "delta_y": None},
        {"kind": "scroll"},
        {"kind": "press", "key": "Enter"},
    ],
)
async def test_interact(api: Facade, world: World, action: dict[str, Any]) -> None:
    session = await api.ready()
    answer = await post(api, session, "interact", {"action": action, "timeout_ms": 5000})
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "duration_ms": 3, "notices": [NOTICE]})
    (asked,) = world.agent.steps
    assert asked[1] == "interact"
    given = {name: value for name, value in action.items() if value is not None}
    assert {name: asked[2]["action"][name] for name in given} == given
    assert asked[2]["timeout_ms"] == 5000


@pytest.mark.parametrize(
    "condition",
    [
        {"kind": "selector", "selector": "#b"},
        {"kind": "selector_hidden", "selector": "#b"},
        {"kind": "url_matches", "pattern": "^https?://"},
        {"kind": "time", "ms": 0},
    ],
)
async def test_wait(api: Facade, world: World, condition: dict[str, Any]) -> None:
    session = await api.ready()
    answer = await post(api, session, "wait", {"condition": condition})
    assert (answer.status_code, answer.json()) == (200, ANSWERS["wait"])
    assert world.agent.steps[0][1:] == ("wait", {"condition": condition, "timeout_ms": 30_000})


async def test_extract(api: Facade, world: World) -> None:
    session = await api.ready()
    text = {"name": "title", "selector": "h1", "type": "text", "transform": None, "extract": None}
    answer = await post(api, session, "extract", {"extractions": [text, LIST]})
    assert (answer.status_code, answer.json()) == (200, ANSWERS["extract"])
    asked = {"name": "title", "selector": "h1", "type": "text"}
    assert world.agent.steps[0][1:] == ("extract", {"extractions": [asked, LIST], "timeout_ms": 30_000})


async def test_state(api: Facade, world: World) -> None:
    session = await api.ready()
    answer = await api.call("GET", f"/v1/sessions/{session['id']}/state")
    assert (answer.status_code, answer.json()) == (200, STATE)
    assert world.agent.steps[0][1:] == ("state", {"timeout_ms": 15_000})


async def test_who_may(api: Facade, world: World) -> None:
    session = await api.ready()
    world.add_key("acme", "reader", ["read:sessions"])
    world.add_key("acme", "writer", ["write:sessions"])
    await known(api, "reader")
    await known(api, "writer")
    path = f"/v1/sessions/{session['id']}"
    assert (await api.call("GET", f"{path}/state", key="reader")).status_code == 200
    check(await api.call("GET", f"{path}/state", key="writer"), 403, "forbidden")
    for step, body in (
        ("interact", {"action": TAP}),
        ("wait", {"condition": {"kind": "time", "ms": 1}}),
        ("extract", {"extractions": [LIST]}),
    ):
        check(await api.call("POST", f"{path}/{step}", json=body, key="reader"), 403, "forbidden")
        assert (await api.call("POST", f"{path}/{step}", json=body, key="writer")).status_code == 200


async def test_sessions_of_others_and_ended_ones(api: Facade, world: World) -> None:
    world.add_account("other")
    session = await api.ready()
    path = f"/v1/sessions/{session['id']}"
    await known(api, "other")
    check(await api.call("GET", f"{path}/state", key="other"), 404, "not-found")
    check(await api.call("POST", f"{path}/interact", json={"action": TAP}, key="other"), 404, "not-found")
    await api.call("DELETE", path)
    check(await api.call("GET", f"{path}/state"), 410, "session-destroyed")
    check(await api.call("POST", f"{path}/interact", json={"action": TAP}), 410, "session-destroyed")
    assert world.agent.steps == []


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "action"),
        ({"action": None}, "action"),
        ({"action": "tap"}, "action"),
        ({"action": {}}, "action.kind"),
        ({"action": {"kind": "click", "selector": "a"}}, "action.kind"),
        ({"action": {"kind": "tap"}}, "action.selector"),
        ({"action": {"kind": "tap", "selector": ""}}, "action.selector"),
        ({"action": {"kind": "tap", "selector": "x" * 4097}}, "action.selector"),
        ({"action": {"kind": "tap", "selector": 1}}, "action.selector"),
        ({"action": {**TAP, "text": "x"}}, "action.text"),
        ({"action": {"kind": "type", "selector": "a", "text": "x" * 10_001}}, "action.text"),
        ({"action": {"kind": "type", "selector": "a", "text": "x", "delay_ms": 501}}, "action.delay_ms"),
        ({"action": {"kind": "type", "selector": "a", "text": "x", "delay_ms": -1}}, "action.delay_ms"),
        ({"action": {"kind": "type", "selector": "a", "text": "x", "sensitive": 1}}, "action.sensitive"),
        ({"action": {"kind": "scroll", "delta_y": 1.5}}, "action.delta_y"),
        ({"action": {"kind": "scroll", "delta_y": 100_001}}, "action.delta_y"),
        ({"action": {"kind": "press", "key": ""}}, "action.key"),
        ({"action": {"kind": "press", "key": "x" * 21}}, "action.key"),
        ({"action": TAP, "timeout_ms": 99}, "timeout_ms"),
        ({"action": TAP, "timeout_ms": 60_001}, "timeout_ms"),
        ({"action": TAP, "more": 1}, "more"),
    ],
)
async def test_wrong_interactions(api: Facade, body: dict[str, Any], path: str) -> None:
    await refused(api, "interact", body, path)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "condition"),
        ({"condition": {"kind": "load"}}, "condition.kind"),
        ({"condition": {"kind": "selector", "selector": ""}}, "condition.selector"),
        ({"condition": {"kind": "url_matches", "pattern": ""}}, "condition.pattern"),
        ({"condition": {"kind": "url_matches", "pattern": "x" * 2049}}, "condition.pattern"),
        ({"condition": {"kind": "time"}}, "condition.ms"),
        ({"condition": {"kind": "time", "ms": -1}}, "condition.ms"),
        ({"condition": {"kind": "time", "ms": 60_001}}, "condition.ms"),
        ({"condition": {"kind": "time", "ms": 1}, "timeout_ms": 99}, "timeout_ms"),
        ({"condition": {"kind": "time", "ms": 1}, "timeout_ms": 120_001}, "timeout_ms"),
    ],
)
async def test_wrong_waits(api: Facade, body: dict[str, Any], path: str) -> None:
    await refused(api, "wait", body, path)


def extraction(**more: Any) -> dict[str, Any]:
    return {"extractions": [{"name": "n", "selector": "p", "type": "text", **more}]}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "extractions"),
        ({"extractions": []}, "extractions"),
        ({"extractions": [{**LIST, "name": f"n{n}"} for n in range(101)]}, "extractions"),
        ({"extractions": [LIST, LIST]}, "extractions"),
        (extraction(name=""), "extractions.0.name"),
        (extraction(selector=""), "extractions.0.selector"),
        (extraction(type="html"), "extractions.0.type"),
        (extraction(type="attribute"), "extractions.0.attribute"),
        (extraction(transform="date"), "extractions.0.transform"),
        (extraction(extract={"a": {"type": "text"}}), "extractions.0.extract"),
        (extraction(type="list", extract={}), "extractions.0.extract"),
        (extraction(type="list", extract={"a": {"type": "list"}}), "extractions.0.extract.a.type"),
        (extraction(type="list", extract={"a": {"type": "attribute"}}), "extractions.0.extract.a.attribute"),
    ],
)
async def test_wrong_extractions(api: Facade, body: dict[str, Any], path: str) -> None:
    await refused(api, "extract", body, path)


async def refused(api: Facade, step: str, body: dict[str, Any], path: str) -> None:
    answer = await api.call("POST", f"/v1/sessions/ses_x/{step}", json=body)
    problem = check(answer, 400, "validation-failed")
    assert [issue["path"] for issue in problem["issues"]] == [path]


async def test_what_only_the_agent_knows_to_be_wrong_names_its_field(api: Facade, world: World) -> None:
    session = await api.ready()
    world.agent.refuse(400, "invalid", "there is no key 'Foo'", path="action.key")
    answer = await post(api, session, "interact", {"action": {"kind": "press", "key": "Foo"}})
    problem = check(answer, 400, "validation-failed")
    assert problem["issues"] == [{"path": "action.key", "message": "there is no key 'Foo'"}]


async def test_a_timeout_says_what_was_waited_for(api: Facade, world: World) -> None:
    session = await api.ready()
    world.agent.refuse(
        504, "timeout", "reaching the element (it is covered) took longer than 700 ms", timeout_ms=700
    )
    answer = await post(api, session, "interact", {"action": TAP, "timeout_ms": 700})
    problem = check(answer, 504, "session-timeout")
    assert problem["timeout_ms"] == 700
    assert problem["detail"] == "Reaching the element (it is covered) took longer than 700 ms."


async def test_sensitive_text_is_in_no_log_and_no_problem(
    api: Facade, world: World, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    session = await api.ready()
    secret = {"kind": "type", "selector": "#f", "text": "hunter2-secret", "sensitive": True}
    answers = [await post(api, session, "interact", {"action": secret})]
    for code, status in (("timeout", 504), ("browser-failed", 502), ("invalid", 400)):
        world.agent.refuse(status, code, "no")
        answers.append(await post(api, session, "interact", {"action": secret}))
    answers.append(await post(api, session, "interact", {"action": {**secret, "delay_ms": "x"}}))
    answers.append(await post(api, session, "interact", {"action": {**secret, "text": "hunter2-secret" * 1000}}))
    assert [answer.status_code for answer in answers] == [200, 504, 502, 400, 400, 400]
    captured = capsys.readouterr()
    told = captured.out + captured.err + caplog.text + "".join(answer.text for answer in answers)
    assert "hunter2" not in told
