"""The steps of a session on a real cluster: what a person does, sees and takes away from a page."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx2
import pykube
import pytest

from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import BROWSERS, SYSTEM, browser_pod


class Driven:
    """A session that is ready, and its calls."""

    def __init__(self, tenant: Tenant, **spec: Any) -> None:
        self.tenant = tenant
        self.id = tenant.create(**spec)["id"]

    def try_step(self, name: str, **body: Any) -> httpx2.Response:
        """Run a step, whatever comes of it."""
        return self.tenant.api.post(f"/v1/sessions/{self.id}/{name}", json=body)

    def step(self, name: str, **body: Any) -> dict[str, Any]:
        """Run a step that must succeed."""
        answer = self.try_step(name, **body)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def act(self, kind: str, **action: Any) -> dict[str, Any]:
        """Interact."""
        return self.step("interact", action={"kind": kind, **action})

    def text(self, selector: str) -> Any:
        """Return an element's text."""
        extraction = {"name": "text", "selector": selector, "type": "text"}
        return self.step("extract", extractions=[extraction])["value"]["text"]

    def state(self) -> dict[str, Any]:
        """Return the page's state."""
        answer = self.tenant.api.get(f"/v1/sessions/{self.id}/state")
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told


@pytest.fixture
def driven(account: Tenant) -> Driven:
    return Driven(account)


def refused(answer: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    """Assert that an answer is this problem; return it."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["type"].endswith(f"/{slug}"), problem
    return problem


def test_a_form_is_filled_in_and_sent(installation: Installation, driven: Driven) -> None:
    driven.step("navigate", url=installation.page)
    driven.act("type", selector="#harbour", text="Kap Höhe")
    driven.act("tap", selector="#send")
    assert driven.step("wait", condition={"kind": "url_matches", "pattern": "/form$"})["satisfied"]
    assert driven.text("#received") == "harbour: Kap Höhe"
    driven.step("navigate", url=installation.page)
    driven.act("type", selector="#harbour", text="Enter sends it", delay_ms=0)
    driven.act("press", key="Enter")
    assert driven.step("wait", condition={"kind": "selector", "selector": "#received"})["satisfied"]
    assert driven.state()["url"].endswith("/form")


def test_what_a_page_holds(installation: Installation, driven: Driven) -> None:
    driven.step("navigate", url=f"{installation.page}desk.html")
    length = {"name": "length", "selector": ".length", "type": "list", "transform": "number"}
    fields = {
        "name": {"type": "text", "selector": ".name"},
        "berth": {"type": "attribute", "attribute": "data-berth"},
    }
    boats = {"name": "boats", "selector": "#boats tr", "type": "list", "extract": fields}
    framed = {"name": "framed", "selector": "#office >>> h1", "type": "text"}
    assert driven.step("extract", extractions=[length, boats, framed])["value"] == {
        "length": [1250.5, 7.25],
        "boats": [{"name": "Nordlicht", "berth": "1"}, {"name": "Möwe", "berth": "2"}],
        "framed": "Yesterday's log",
    }
    state = driven.state()
    assert (state["title"], state["local_storage"]) == ("Harbour desk", {"berths": "2"})
    assert state["page_state"] == {"state": "loaded", "error": None}
    (cookie,) = state["cookies"]
    assert (cookie["name"], cookie["value"], cookie["http_only"]) == ("harbour", "open", False)
    assert cookie["expires"] > time.time()


def test_dialogs_windows_and_downloads_hold_nothing_up(installation: Installation, driven: Driven) -> None:
    driven.step("navigate", url=f"{installation.page}desk.html")
    (asked,) = driven.act("tap", selector="#ask")["notices"]
    assert (asked["kind"], asked["outcome"], asked["text"]) == ("confirm", "dismissed", "Is the harbour open?")
    assert driven.text("#said") == "asked true mouse false"
    driven.act("tap", selector="#pilot >>> button")
    assert driven.text("#said") == "called true"
    noticed = driven.act("tap", selector="#map")["notices"]
    noticed += driven.step("wait", condition={"kind": "time", "ms": 500})["notices"]
    assert [(each["kind"], each["outcome"], each["text"]) for each in noticed] == [
        ("download", "refused", "map.bin")
    ]
    (window,) = driven.act("tap", selector="#window")["notices"]
    assert (window["kind"], window["outcome"]) == ("popup", "front")
    assert driven.step("wait", condition={"kind": "url_matches", "pattern": "second"})["satisfied"]
    assert driven.text("h1") == "Yesterday's log"


def test_a_phone_is_touched(installation: Installation, account: Tenant) -> None:
    driven = Driven(account, archetype="android_phone", behavioral_profile="power_user")
    driven.step("navigate", url=f"{installation.page}desk.html")
    driven.act("tap", selector="#ask")
    assert driven.text("#said") == "asked true touch false"
    driven.act("scroll", delta_y=100)


def test_the_profile_sets_the_pace(installation: Installation, account: Tenant) -> None:
    took = {}
    for profile in ("casual", "power_user"):
        driven = Driven(account, behavioral_profile=profile)
        driven.step("navigate", url=installation.page)
        took[profile] = driven.act("type", selector="#harbour", text="thirty characters of some text")[
            "duration_ms"
        ]
    assert took["casual"] > 2 * took["power_user"]


def test_what_takes_too_long_leaves_the_session_usable(installation: Installation, driven: Driven) -> None:
    driven.step("navigate", url=f"{installation.page}desk.html")
    missing = driven.try_step("interact", action={"kind": "tap", "selector": "#none"}, timeout_ms=500)
    problem = refused(missing, 504, "session-timeout")
    assert (problem["timeout_ms"], "missing" in problem["detail"]) == (500, True)
    late = driven.step("wait", condition={"kind": "selector", "selector": "#none"}, timeout_ms=500)
    assert late["satisfied"] is False
    stuck = driven.try_step("interact", action={"kind": "tap", "selector": "#busy"}, timeout_ms=1500)
    refused(stuck, 504, "session-timeout")
    assert driven.tenant.get(driven.id)["status"] == "ready"
    assert driven.step("navigate", url=installation.page)["status"] == 200


ACTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("interact", {"action": {"kind": "tap", "selector": "##"}}, "action.selector"),
    ("interact", {"action": {"kind": "type", "selector": "a[", "text": ""}}, "action.selector"),
    ("interact", {"action": {"kind": "press", "key": "Entr"}}, "action.key"),
    ("interact", {"action": {"kind": "press", "key": "x" * 21}}, "action.key"),
    ("interact", {"action": {"kind": "type", "selector": "a", "text": "x" * 10_001}}, "action.text"),
    ("interact", {"action": {"kind": "fly"}}, "action.kind"),
    ("interact", {"action": {"kind": "tap", "selector": "a"}, "timeout_ms": 60_001}, "timeout_ms"),
    ("wait", {"condition": {"kind": "selector", "selector": ":::"}}, "condition.selector"),
    ("wait", {"condition": {"kind": "url_matches", "pattern": "("}}, "condition.pattern"),
    ("wait", {"condition": {"kind": "url_matches", "pattern": r"^(\w+|[^x])+$x"}}, "condition.pattern"),
    ("wait", {"condition": {"kind": "time", "ms": 60_001}}, "condition.ms"),
    ("extract", {"extractions": []}, "extractions"),
    ("extract", {"extractions": [{"name": "n", "selector": "p(", "type": "text"}]}, "extractions.0.selector"),
    ("extract", {"extractions": [{"name": "n", "selector": "p", "type": "attribute"}]}, "extractions.0.attribute"),
]


def test_bad_input_is_named(installation: Installation, driven: Driven) -> None:
    driven.step("navigate", url=f"{installation.page}desk.html?{'a' * 80}")
    for step, body, path in ACTIONS:
        problem = refused(driven.try_step(step, **body), 400, "validation-failed")
        assert [issue["path"] for issue in problem["issues"]] == [path], (step, body)
    assert driven.text("h1") == "Harbour desk"


def test_delete_wins_against_a_running_wait(installation: Installation, driven: Driven) -> None:
    answers: list[httpx2.Response] = []
    condition = {"kind": "time", "ms": 30_000}
    waiting = threading.Thread(target=lambda: answers.append(driven.try_step("wait", condition=condition)))
    waiting.start()
    while driven.tenant.get(driven.id)["status"] != "busy":
        assert waiting.is_alive()
    refused(driven.tenant.api.get(f"/v1/sessions/{driven.id}/state"), 409, "conflict")
    assert driven.tenant.api.delete(f"/v1/sessions/{driven.id}").status_code == 204
    waiting.join(10)
    refused(answers[0], 410, "session-destroyed")
    refused(driven.tenant.api.get(f"/v1/sessions/{driven.id}/state"), 410, "session-destroyed")


def test_what_is_sensitive_is_in_no_log_event_or_problem(
    installation: Installation, driven: Driven, kube: pykube.HTTPClient
) -> None:
    secret = "hunter2-secret"
    pod = browser_pod(kube, driven.id.removeprefix("ses_"))
    assert pod is not None
    driven.step("navigate", url=installation.page)
    driven.act("type", selector="#harbour", text=secret, sensitive=True)
    missing = {"kind": "type", "selector": "#none", "text": secret, "sensitive": True}
    said = [driven.try_step("interact", action=missing, timeout_ms=200).text]
    said.append(driven.try_step("interact", action={**missing, "delay_ms": secret}).text)
    agent = installation.run_kubectl("logs", "-n", BROWSERS, pod.name).stdout
    assert '"kind":"type"' in agent
    assert driven.tenant.api.delete(f"/v1/sessions/{driven.id}").status_code == 204
    for component in ("facade", "operator"):
        logs = ("logs", "-n", SYSTEM, "-l", f"app.kubernetes.io/component={component}", "--tail=500")
        said.append(installation.run_kubectl(*logs).stdout)
    said.append(installation.run_kubectl("get", "events", "-A", "-o", "json").stdout)
    said.append(installation.run_kubectl("get", "driftstack", "-A", "-o", "json").stdout)
    assert all(said), "there is something to look at"
    assert not [text for text in (agent, *said) if secret in text]
