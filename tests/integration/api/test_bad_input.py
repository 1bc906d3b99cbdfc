"""What callers get wrong: odd JSON, odd text, odd URLs, odd ids, each answered by a problem that names it."""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx2
import pytest

from driftstack_api.problems import MOST_ISSUES
from driftstack_api.sessions.schemas import METADATA_LIMIT
from tests.integration.api.test_problems import check
from tests.integration.api.world import Facade, World
from tests.unit.api.polling import until

SESSIONS = "/v1/sessions"


async def post(api: Facade, body: str | bytes, **headers: str) -> httpx2.Response:
    """Create with a body as it is."""
    return await api.call(
        "POST", SESSIONS, content=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


def issues(answer: httpx2.Response) -> list[str]:
    """Assert that an answer is validation-failed; return the paths of its issues."""
    return [issue["path"] for issue in check(answer, 400, "validation-failed")["issues"]]


# --- bodies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"label": "a", "label": "b"}', "'label' twice"),
        ('{"metadata": {"a": [{"x": 1, "\\u0078": 2}]}}', "'x' twice"),
        (b"\xef\xbb\xbf{}", "without a byte order mark"),
        ('{"label": "\\ud800"}', "not JSON"),
        ('{"metadata": {"\\udfff": 1}}', "not JSON"),
        ('{"metadata": {"a": ' + "1" * 5000 + "}}", "out of range"),
        ("{'label': 'a'}", "not JSON"),
        ('{"label": "a",}', "not JSON"),
        ('{"label": "a\nb"}', "not JSON"),
        ("{} {}", "not JSON"),
        ("label=a&metadata=b", "not JSON"),
        ("\0", "not JSON"),
    ],
)
async def test_json_that_is_none(api: Facade, world: World, body: str | bytes, said: str) -> None:
    assert said in check(await post(api, body), 400, "bad-request")["detail"]
    assert ("create", "browsersessions") not in world.kube.calls


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip"])
async def test_encoded_bodies(api: Facade, coding: str) -> None:
    detail = check(await post(api, b"\x1f\x8b\x08", Content_Encoding=coding), 400, "bad-request")["detail"]
    assert "Content-Encoding" in detail
    assert (await post(api, "{}", Content_Encoding="Identity")).status_code == 201


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "application/x-www-form-urlencoded", "text/xml"]
)
async def test_a_body_is_json_whatever_it_is_called(api: Facade, kind: str) -> None:
    # curl -d calls everything a form.
    assert (await post(api, '{"label": "a"}', Content_Type=kind)).json()["label"] == "a"


async def test_every_wrong_field_is_named_at_once(api: Facade) -> None:
    wrong = {"label": 5, "archetype": "X", "metadata": [], "purpose": "x", "behavioral_profile": "", "foo": 1}
    assert set(issues(await api.call("POST", SESSIONS, json=wrong))) == set(wrong)
    step = {"action": {"kind": "type", "selector": "", "delay_ms": -1}, "timeout_ms": 0}
    answer = await api.call("POST", f"{SESSIONS}/ses_x/interact", json=step)
    assert issues(answer) == ["action.selector", "action.text", "action.delay_ms", "timeout_ms"]
    page = await api.call("GET", f"{SESSIONS}?limit=0&cursor=&more=1")
    assert issues(page) == ["limit", "cursor", "more"]


async def test_no_answer_grows_with_what_is_wrong(api: Facade) -> None:
    many = await api.call("POST", SESSIONS, json={f"field{number}": 1 for number in range(10_000)})
    assert len(issues(many)) == MOST_ISSUES
    long = await api.call("POST", SESSIONS, json={"k" * 900_000: 1})
    tag = await api.call("POST", f"{SESSIONS}/ses_x/interact", json={"action": {"kind": "x" * 900_000}})
    assert issues(tag) == ["action.kind"]
    assert max(len(answer.content) for answer in (many, long, tag)) < 20_000


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"foo": 1}, "There is no such field"),
        ([], "Input should be an object"),
        ({"label": "x" * 121}, "String should have at most 120 characters"),
        ({"behavioral_profile": "x"}, "Input should be 'casual', 'regular' or 'power_user'"),
        ({"metadata": {"a": "x" * METADATA_LIMIT}}, "Should have at most 16384 bytes as JSON, not 16392"),
        ({"metadata": {"a": 2**64}}, "Whole numbers should fit in 64 bits; send larger ones as strings"),
    ],
)
async def test_messages_say_what_to_do(api: Facade, body: Any, message: str) -> None:
    problem = check(await api.call("POST", SESSIONS, json=body), 400, "validation-failed")
    assert [issue["message"] for issue in problem["issues"]] == [message]


# --- texts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["", "\0", "\x1b[31m", "🙂" * 120, "e\u0301" * 60, "\u202e", "'; DROP TABLE x"])
async def test_labels_come_back_as_they_came(api: Facade, label: str) -> None:
    created = await api.create(label=label)
    assert created["label"] == label
    assert (await api.call("GET", f"{SESSIONS}/{created['id']}")).json()["label"] == label


@pytest.mark.parametrize("label", ["🙂" * 121, "e\u0301" * 61])
async def test_labels_are_counted_in_code_points(api: Facade, label: str) -> None:
    assert issues(await api.call("POST", SESSIONS, json={"label": label})) == ["label"]


async def test_metadata_is_counted_in_bytes(api: Facade) -> None:
    frame = len('{"a":""}')
    for character in ("x", "é", "🙂"):
        size = len(character.encode())
        most = character * ((METADATA_LIMIT - frame) // size)
        assert (await api.create(metadata={"a": most}))["metadata"] == {"a": most}
        assert issues(await api.call("POST", SESSIONS, json={"metadata": {"a": most + character}})) == ["metadata"]
        (only,) = (await api.call("GET", SESSIONS)).json()["data"]
        await api.call("DELETE", f"{SESSIONS}/{only['id']}")
        api.world.kube.remove("sessionrecords", "acct-acme", only["id"].removeprefix("ses_"))
        uid = only["id"].removeprefix("ses_")
        await until(lambda uid=uid: api.app.state.services.caches.sessions.get(uid) is None)  # type: ignore[misc]


async def test_metadata_comes_back_as_it_came(api: Facade) -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"a": deep}
    odd = {
        "": None,
        "\0": "\0",
        "n": [1, 1.5, -(2**63), 2**63 - 1, 1e300, 5e-324],
        "d": deep,
        "__proto__": {"x": 1},
    }
    assert (await api.create(metadata=odd))["metadata"] == odd


# --- ids, cursors -------------------------------------------------------------------------------------------------


async def test_an_empty_id_is_no_address(api: Facade) -> None:
    for method, path in (("GET", "/"), ("DELETE", "/"), ("POST", "//navigate"), ("GET", "//state")):
        check(await api.call(method, SESSIONS + path), 404, "not-found")


@pytest.mark.parametrize("step", ["navigate", "capture", "interact", "wait", "extract"])
async def test_steps_of_a_session_that_is_not_there(api: Facade, step: str) -> None:
    bodies: dict[str, Any] = {
        "navigate": {"url": "about:blank"},
        "capture": {"kind": "pdf"},
        "interact": {"action": {"kind": "press", "key": "a"}},
        "wait": {"condition": {"kind": "time", "ms": 1}},
        "extract": {"extractions": [{"name": "n", "selector": "p", "type": "text"}]},
    }
    for session in ("ses_9d2f0c1e-5b7a-4f0e-8a3d-2c6b1e4f7a90", "ses_", "x" * 10_240, "%F0%9F%99%82"):
        check(await api.call("POST", f"{SESSIONS}/{session}/{step}", json=bodies[step]), 404, "not-found")


@pytest.mark.parametrize("cursor", ["x" * 513, "%00", "AQ", "A" * 42, "=" * 8, "..%2F..", "🙂"])
async def test_cursors_that_are_none(api: Facade, cursor: str) -> None:
    assert issues(await api.call("GET", f"{SESSIONS}?cursor={cursor}")) == ["cursor"]


async def test_a_cursor_still_works_when_what_it_points_at_is_forgotten(api: Facade, world: World) -> None:
    made = [(await api.create())["id"] for _ in range(3)]
    page = (await api.call("GET", f"{SESSIONS}?limit=1")).json()
    newest = page["data"][0]["id"]
    await api.call("DELETE", f"{SESSIONS}/{newest}")
    uid = newest.removeprefix("ses_")
    world.kube.remove("sessionrecords", "acct-acme", uid)
    await until(lambda: api.app.state.services.caches.sessions.get(uid) is None)
    rest = (await api.call("GET", f"{SESSIONS}?cursor={page['next_cursor']}")).json()
    assert {session["id"] for session in rest["data"]} == {*made} - {newest}


# --- URLs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "//a.test/",
        "a.test",
        "http:/a.test/",
        "http:\\\\a.test\\",
        "http:///a.test/",
        "http://@/",
        "http://user@/",
        "http://?q",
        "http://a.test:b/",
        "http://a.test:-1/",
        "http://a.test:0/",
        " http://a.test/",
        "http://a.test/\n",
        "ht\ttp://a.test/",
        "http://a.test/\0",
        "http://[a.test/",
        "ftp://a.test/",
        "blob:http://a.test/x",
        "view-source:http://a.test/",
        "about:srcdoc",
        "chrome://version",
        "devtools://devtools/bundled/inspector.html",
    ],
)
async def test_urls_that_no_page_is_loaded_from(api: Facade, world: World, url: str) -> None:
    session = await api.ready()
    answer = await api.call("POST", f"{SESSIONS}/{session['id']}/navigate", json={"url": url})
    assert issues(answer) == ["url"]
    assert answer.json()["issues"][0]["message"].startswith("Should ")
    assert world.agent.steps == []


@pytest.mark.parametrize(
    "url",
    [
        "HTTPS://A.test",
        "http://bücher.test/ä?ö#ü",
        "http://xn--bcher-kva.test/",
        "http://[2001:db8::1]:8080/",
        "http://a:/",
    ],
)
async def test_urls_that_browsers_take_reach_the_browser_as_they_are(api: Facade, world: World, url: str) -> None:
    session = await api.ready()
    answer = await api.call("POST", f"{SESSIONS}/{session['id']}/navigate", json={"url": url})
    assert answer.status_code == 200
    assert answer.json()["url"] == world.agent.steps[0][2]["url"] == url


async def test_credentials_in_a_url_are_told_to_nobody_but_the_browser(
    api: Facade, world: World, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    session = await api.ready()
    path, body = f"{SESSIONS}/{session['id']}/navigate", {"url": "http://user:hunter2@a.test/"}
    assert (await api.call("POST", path, json=body)).status_code == 200
    assert world.agent.steps[0][2]["url"] == body["url"]
    answers = []
    for status, code in ((502, "page-failed"), (502, "browser-failed"), (504, "timeout"), (400, "invalid")):
        world.agent.refuse(status, code, "no")
        answers.append(await api.call("POST", path, json=body))
    answers.append(await api.call("POST", path, json={"url": "ftp://user:hunter2@a.test/"}))
    answers.append(await api.call("POST", path, json={"url": "http://user:hunter2@a.test:x/"}))
    assert [answer.status_code for answer in answers] == [502, 502, 504, 400, 400, 400]
    captured = capsys.readouterr()
    told = captured.out + captured.err + caplog.text + "".join(answer.text for answer in answers)
    assert "hunter2" not in told
    assert "hunter2" not in json.dumps(list(world.kube.objects.values()))


# --- headers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preference", ["wait", "wait=", "wait=-1", "wait=soon", "=", ";;", "wait=1.5", "x" * 1000])
async def test_preferences_that_mean_nothing_are_ignored(api: Facade, world: World, preference: str) -> None:
    world.operator.start = False
    answer = await api.call("POST", SESSIONS, headers={"Prefer": preference})
    assert (answer.status_code, answer.json()["status"]) == (201, "creating")
    assert "Preference-Applied" not in answer.headers


async def test_a_preference_is_applied_as_far_as_it_goes(api: Facade) -> None:
    answer = await api.call("POST", SESSIONS, headers={"Prefer": "wait=999"})
    assert answer.headers["Preference-Applied"] == "wait=30"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PUT", "PATCH", "DELETE"])
async def test_methods_that_a_path_does_not_have(api: Facade, method: str) -> None:
    answer = await api.call(method, SESSIONS)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, POST")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-Id"]
