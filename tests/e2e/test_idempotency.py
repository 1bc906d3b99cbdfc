"""Repeated creates on a real cluster: one session however often, and on however many replicas, a create is sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx2
import pykube
import pytest

from driftstack_common.names import QUOTA_NAME, SESSION_QUOTA
from tests.e2e.chaos.callers import Replica, pair
from tests.e2e.chaos.causes import pool
from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import BrowserSession, CreateRequest, eventually

BURST = 20


@pytest.fixture(scope="module")
def replicas(installation: Installation, kube: pykube.HTTPClient) -> Iterator[tuple[Replica, Replica]]:
    """Two replicas of the facade, each reached by itself."""
    if installation.backend != "embedded":
        pytest.skip("pods can be reached from this machine on the embedded node alone")
    with pair(kube) as both:
        yield both


def create(account: Tenant, key: str, prefer: str = "", **body: Any) -> httpx2.Response:
    """Create with a key through the Service."""
    headers = {"Idempotency-Key": key, **({"Prefer": prefer} if prefer else {})}
    return account.api.post("/v1/sessions", json=body, headers=headers)


def at_once(calls: list[Callable[[], httpx2.Response]]) -> list[httpx2.Response]:
    """Make all calls in the same moment."""
    gate = threading.Barrier(len(calls))

    def call(make: Callable[[], httpx2.Response]) -> httpx2.Response:
        gate.wait(30)
        return make()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(call, calls))


def is_replay(answer: httpx2.Response) -> bool:
    """Whether an answer is of a session that another call has made."""
    assert answer.headers.get("Idempotent-Replayed") in (None, "1")
    return "Idempotent-Replayed" in answer.headers


def live(kube: pykube.HTTPClient, account: Tenant) -> list[str]:
    """Return the ids of the account's sessions, as kubectl sees them."""
    return [f"ses_{found.uid}" for found in BrowserSession.objects(kube, namespace=account.namespace)]


def used(kube: pykube.HTTPClient, account: Tenant) -> int:
    """Return how many slots the API server counts as taken."""
    quota = pykube.ResourceQuota.objects(kube, namespace=account.namespace).get(name=QUOTA_NAME)
    return int(quota.obj["status"]["used"][SESSION_QUOTA])


def counts_exactly(kube: pykube.HTTPClient, account: Tenant, sessions: int) -> None:
    """Assert that the quota counts the live sessions and no more, within three seconds."""
    assert len(live(kube, account)) == sessions
    eventually(lambda: used(kube, account) == sessions, 3, f"{sessions} slots are taken")


@pytest.mark.parametrize("calls", [2, BURST])
def test_the_same_create_on_two_replicas_at_once(
    replicas: tuple[Replica, Replica], account: Tenant, kube: pykube.HTTPClient, calls: int
) -> None:
    key = {"Idempotency-Key": uuid4().hex}

    def ask(replica: Replica) -> httpx2.Response:
        return replica.call(account, "POST", "/v1/sessions", headers=key, json={"label": "once"})

    answers = at_once([lambda each=replicas[n % 2]: ask(each) for n in range(calls)])
    assert [answer.status_code for answer in answers] == [201] * calls
    (session,) = {answer.json()["id"] for answer in answers}
    assert [is_replay(answer) for answer in answers].count(False) == 1
    assert live(kube, account) == [session]
    counts_exactly(kube, account, 1)


def test_a_refused_create_frees_its_key_and_burns_no_slot(
    account_of: Callable[..., Tenant], kube: pykube.HTTPClient
) -> None:
    account, key = account_of(tier="api_starter"), uuid4().hex  # two sessions
    first, second = (create(account, name).json()["id"] for name in ("first", "second"))
    refused = create(account, key, label="third")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (429, "concurrency-limit")
    assert (refused.json()["current_sessions"], refused.json()["limit"]) == (2, 2)
    # Some make the attempt and are refused, the others wait for it and are told so.
    crowd = at_once([lambda: create(account, key, label="third")] * 6)
    assert {answer.status_code for answer in crowd} <= {429, 503}
    assert all("Retry-After" in answer.headers for answer in crowd)
    assert len(list(CreateRequest.objects(kube, namespace=account.namespace))) == 2, "the refused key is free"
    counts_exactly(kube, account, 2)

    assert account.api.delete(f"/v1/sessions/{first}").status_code == 204
    made = create(account, key, label="third")
    assert (made.status_code, is_replay(made)) == (201, False), made.text
    again = create(account, key, label="third")
    assert (again.json()["id"], is_replay(again)) == (made.json()["id"], True)
    assert sorted(live(kube, account)) == sorted([second, made.json()["id"]])
    counts_exactly(kube, account, 2)


def test_a_crowd_at_the_last_slot(account_of: Callable[..., Tenant], kube: pykube.HTTPClient) -> None:
    account = account_of(tier="team_manual")  # three sessions
    answers = at_once([lambda key=str(n // 2): create(account, key) for n in range(12)])
    made = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.json()["id"] for answer in made}) == 3
    assert [is_replay(answer) for answer in made].count(False) == 3
    assert {answer.status_code for answer in answers} <= {201, 429, 503}
    counts_exactly(kube, account, 3)


def test_a_key_outlives_its_session_and_is_of_one_body(
    account_of: Callable[..., Tenant], kube: pykube.HTTPClient
) -> None:
    account, other = account_of(), account_of()
    body = {"label": "a", "metadata": {"x": 1, "y": [2]}}
    first = create(account, "the key", **body)
    assert (first.status_code, is_replay(first)) == (201, False)
    session = first.json()["id"]
    theirs = create(other, "the key", **body)
    assert (theirs.status_code, is_replay(theirs)) == (201, False), "another account's key of the same text"
    assert theirs.json()["id"] != session
    for wrong in ({"label": "b"}, {**body, "archetype": "android_phone"}, {}):
        refused = create(account, "the key", **wrong)
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "conflict")
    assert account.api.delete(f"/v1/sessions/{session}").status_code == 204
    ended = create(account, "the key", metadata={"y": [2], "x": 1}, label="a")
    assert (ended.status_code, is_replay(ended)) == (201, True)
    assert (ended.json()["id"], ended.json()["status"]) == (session, "destroyed")
    assert live(kube, account) == []
    counts_exactly(kube, account, 0)


def test_prefer_wait_answers_once_ready(account: Tenant) -> None:
    at_once_told = create(account, "plain")
    assert at_once_told.json()["status"] == "creating"
    assert "Preference-Applied" not in at_once_told.headers
    waited = create(account, "waits", prefer="respond-async, wait=25")
    assert (waited.status_code, waited.headers["Preference-Applied"]) == (201, "wait=25")
    assert (waited.json()["status"], waited.json()["last_state_at"] is None) == ("ready", False)
    moved = account.api.post(f"/v1/sessions/{waited.json()['id']}/navigate", json={"url": "about:blank"})
    assert moved.status_code == 200
    # Repeated with its key, it waits for the same session.
    replayed = create(account, "plain", prefer="wait=25")
    assert (replayed.json()["id"], replayed.json()["status"]) == (at_once_told.json()["id"], "ready")
    assert is_replay(replayed)


def test_prefer_wait_answers_after_its_time(account: Tenant, kube: pykube.HTTPClient) -> None:
    with pool(kube, nodeSelector={"driftstack.dev/nowhere": "true"}):
        started = time.monotonic()
        answer = create(account, "k", prefer="wait=1")
        assert 1 <= time.monotonic() - started < 3
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (201, "wait=1")
    assert answer.json()["status"] == "creating"
    assert account.api.delete(f"/v1/sessions/{answer.json()['id']}").status_code == 204
