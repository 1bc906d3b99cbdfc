"""The facade while its parts, its API server or its agents are broken."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import httpx2
import pykube
import pytest

from tests.e2e.chaos.callers import (
    Caller,
    Replica,
    all_right,
    calling,
    check_bounded,
    cut_off,
    deaf,
    pair,
    renewed,
    replicas,
    statuses,
)
from tests.e2e.chaos.machine import AGENT, BROWSER, Machine
from tests.e2e.chaos.report import Report
from tests.e2e.conftest import Tenant
from tests.e2e.objects import ApiKey, BrowserSession, browser_pod, eventually, record_of

SLOW_PAGE = "http://demo.driftstack.test/slow?ms={}"
EVERYTHING = ("whoami", "read", "list", "ready")
NOTICED = 5.0
"""Seconds within which a silent watch is noticed."""


@pytest.fixture
def replica(kube: pykube.HTTPClient) -> Replica:
    """Any replica of the facade."""
    return eventually(lambda: replicas(kube), 60, "a facade that serves")[0]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def whoami(replica: Replica, tenant: Tenant) -> int:
    return replica.call(tenant, "GET", "/v1/whoami").status_code


def navigate(replica: Replica, tenant: Tenant, session: str, url: str, timeout_ms: int = 30_000) -> httpx2.Response:
    body = {"url": url, "timeout_ms": timeout_ms}
    return replica.call(tenant, "POST", f"/v1/sessions/{session}/navigate", json=body)


def revoke(kube: pykube.HTTPClient, tenant: Tenant) -> None:
    ApiKey.objects(kube, namespace=tenant.namespace).get(name="e2e").patch({"spec": {"revoked": True}})


def test_a_revoked_key_stops(kube: pykube.HTTPClient, account: Tenant, replica: Replica, report: Report) -> None:
    assert whoami(replica, account) == 200
    started = time.monotonic()
    revoke(kube, account)
    eventually(lambda: whoami(replica, account) == 401, 1, "the revoked key is refused")
    report.add("a key revoked: it stops", time.monotonic() - started)


def test_a_revoked_key_stops_although_the_watch_is_silent(
    machine: Machine, kube: pykube.HTTPClient, account: Tenant, replica: Replica, report: Report
) -> None:
    assert whoami(replica, account) == 200
    with deaf(machine, replica):
        started = time.monotonic()
        revoke(kube, account)
        last = started
        while (status := whoami(replica, account)) != 401:
            if status == 200:
                last = time.monotonic()
            assert time.monotonic() - started < 15, "the revoked key is never refused"
        assert last - started < NOTICED, "it worked although the watch had been silent for too long"
        report.add("a key revoked while the watches are silent: it stops", last - started)
        eventually(replica.ready, 10, "caches on new connections")
        report.add("watches silent, new connections possible: caches right again", time.monotonic() - started)


@pytest.mark.timeout(900)  # the long form
def test_one_replica_cut_off(
    machine: Machine, account: Tenant, replica: Replica, report: Report, *, long: bool
) -> None:
    session = account.create()["id"]
    for seconds in (8, 30, 180) if long else (8,):
        recovered = _outage(cut_off(machine, replica), seconds, replica, account, session)
        assert recovered < 5
        report.add(f"the facade cut off from the API server for {seconds} s", recovered)
    assert navigate(replica, account, session, "about:blank").status_code == 200


@pytest.mark.timeout(900)  # the long form
def test_api_server_frozen(
    machine: Machine, account: Tenant, replica: Replica, pool: ThreadPoolExecutor, report: Report, *, long: bool
) -> None:
    session, other = account.create()["id"], account.create()["id"]
    for seconds in (10, 30, 180) if long else (10,):
        step = pool.submit(navigate, replica, account, other, SLOW_PAGE.format(7000))
        eventually(lambda: _status(replica, account, other) == "busy", 5, "the step runs")
        recovered = _outage(machine.frozen("kube-apiserver"), seconds, replica, account, session)
        served = _seconds(partial(_answers, account), 60)
        assert step.result().status_code == 200, "a step under way needs no API server"
        assert recovered < 10
        report.add(f"API server frozen for {seconds} s: a replica is right again", recovered)
        report.add(f"API server frozen for {seconds} s: the Service has it again", recovered + served)
    created = account.create()
    assert account.api.delete(f"/v1/sessions/{created['id']}").status_code == 204


def test_api_server_slow(
    machine: Machine, account: Tenant, replica: Replica, report: Report, *, long: bool
) -> None:
    session = account.create()["id"]
    with calling(replica, account, session) as callers:
        with machine.halting("kube-apiserver", 4.5):
            began = time.monotonic()
            _wait_until(began + (60 if long else 15))
            assert _seconds(partial(_drives, replica, account, session), 30) < 30, "a step is possible"
            ended = time.monotonic()
        recovered = _recovered(callers, ended)
    check_bounded(callers)
    assert 200 in statuses(callers, "read", began, ended), "single sessions can be read"
    report.add("API server that answers every 5 s only", recovered)


def _drives(replica: Replica, account: Tenant, session: str) -> bool:
    answer = navigate(replica, account, session, "about:blank")
    assert answer.status_code in (200, 503), answer.text
    return answer.status_code == 200


def _answers(account: Tenant) -> bool:
    """Whether the Service answers: it has no endpoint while no replica is ready."""
    try:
        return account.api.get("/v1/sessions").status_code == 200
    except httpx2.ConnectError:
        return False


def _outage(
    fault: AbstractContextManager[None], seconds: float, replica: Replica, account: Tenant, session: str
) -> float:
    """Have a fault for some time while callers call; return how long after it all was right again, seconds."""
    with calling(replica, account, session) as callers:
        with fault:
            began = time.monotonic()
            eventually(lambda: not replica.ready(), NOTICED + 0.5, "readiness tells")
            _wait_until(began + seconds)
            ended = time.monotonic()
        recovered = _recovered(callers, ended)
    _judge(callers, began, ended)
    return recovered


def _recovered(callers: list[Caller], since: float) -> float:
    """Return how long after this time (monotonic) all was right again, seconds."""
    return eventually(lambda: all_right(callers, EVERYTHING, since), 20, "all is right again")


def _judge(callers: list[Caller], began: float, ended: float) -> None:
    """Assert what is promised of an outage: explained, bounded, honest; nothing old told as true."""
    check_bounded(callers)
    blind = began + NOTICED
    for what in EVERYTHING:
        assert statuses(callers, what, blind, ended) <= {503}, what
    assert statuses(callers, "alive", began, ended) == {200}, "liveness needs no API server"


def _wait_until(moment: float) -> None:
    threading.Event().wait(max(0.0, moment - time.monotonic()))


@pytest.mark.timeout(900)  # the long form
def test_facade_killed_in_a_step(
    machine: Machine,
    kube: pykube.HTTPClient,
    account: Tenant,
    pool: ThreadPoolExecutor,
    report: Report,
    *,
    long: bool,
) -> None:
    session = account.create()["id"]
    with pair(kube) as (first, second):
        for _ in range(5 if long else 1):
            step = pool.submit(navigate, first, account, session, SLOW_PAGE.format(25_000))
            eventually(lambda: _phase(kube, account, session) == "busy", 5, "the step is marked")
            answer = navigate(second, account, session, "about:blank")
            assert answer.status_code == 409, "one step at a time, whoever runs it"
            first.kill(machine)
            killed = time.monotonic()
            assert isinstance(step.exception(), httpx2.HTTPError)
            eventually(
                lambda: navigate(second, account, session, "about:blank").status_code == 200, 10, "the next step"
            )
            report.add("facade killed in a step: the next step works", time.monotonic() - killed)
            eventually(lambda: _status(second, account, session) == "ready", 15, "it shows ready")
            report.add("facade killed in a step: the session shows ready", time.monotonic() - killed)
            first = renewed(kube, first)


@pytest.mark.usefixtures("only_long")
@pytest.mark.timeout(900)  # the long form
def test_facade_killed_in_creates_and_deletes(
    machine: Machine,
    kube: pykube.HTTPClient,
    account: Tenant,
    pool: ThreadPoolExecutor,
    report: Report,
    *,
    long: bool,
) -> None:
    with pair(kube) as (first, second):
        for milliseconds in (2, 5, 8, 11, 14, 17, 20, 25, 30, 40) if long else (8,):
            key = secrets.token_hex(8)
            report.add(
                "facade killed in a create: repeated with its key",
                _killed(machine, pool, first, milliseconds, partial(_create, first, account, key))
                or _seconds(partial(_made, second, account, key), 60),
            )
            made = _made(second, account, key)
            assert made is not None
            assert [found.uid for found in _sessions(kube, account)] == [made["id"].removeprefix("ses_")]
            first = renewed(kube, first)

            path = f"/v1/sessions/{made['id']}"
            report.add(
                "facade killed in a delete: repeated",
                _killed(machine, pool, first, milliseconds, partial(first.call, account, "DELETE", path))
                or _seconds(partial(_deleted, second, account, path), 15),
            )
            assert not _sessions(kube, account)
            assert second.call(account, "GET", path).json()["status"] == "destroyed"
            first = renewed(kube, first)


def _killed(
    machine: Machine,
    pool: ThreadPoolExecutor,
    replica: Replica,
    milliseconds: int,
    call: Callable[[], httpx2.Response],
) -> None:
    """Kill a replica so long after a call to it has begun; the call may have been answered just before."""
    running = pool.submit(call)
    _wait_until(time.monotonic() + milliseconds / 1000)
    replica.kill(machine)
    error = running.exception(30)
    assert error is None or isinstance(error, httpx2.HTTPError), error


def _seconds(look: Callable[[], Any], most: float) -> float:
    """Return how long it takes until something is true, seconds."""
    started = time.monotonic()
    eventually(look, most, repr(look))
    return time.monotonic() - started


def _deleted(replica: Replica, tenant: Tenant, path: str) -> bool:
    return replica.call(tenant, "DELETE", path).status_code == 204


def _create(replica: Replica, tenant: Tenant, key: str) -> httpx2.Response:
    return replica.call(tenant, "POST", "/v1/sessions", json={}, headers={"Idempotency-Key": key})


def _made(replica: Replica, tenant: Tenant, key: str) -> dict[str, Any] | None:
    """Repeat a create; return its session, None when that is to be tried again."""
    answer = _create(replica, tenant, key)
    assert answer.status_code in (201, 503), answer.text
    return dict(answer.json()) if answer.status_code == 201 else None


def _sessions(kube: pykube.HTTPClient, tenant: Tenant) -> list[BrowserSession]:
    return list(BrowserSession.objects(kube, namespace=tenant.namespace))


def _phase(kube: pykube.HTTPClient, tenant: Tenant, session: str) -> str:
    uid = session.removeprefix("ses_")
    return next(found.status.get("phase", "") for found in _sessions(kube, tenant) if found.uid == uid)


def _status(replica: Replica, tenant: Tenant, session: str) -> str:
    return str(replica.call(tenant, "GET", f"/v1/sessions/{session}").json()["status"])


def test_an_agent_that_never_answers(
    machine: Machine,
    kube: pykube.HTTPClient,
    account: Tenant,
    replica: Replica,
    pool: ThreadPoolExecutor,
    report: Report,
) -> None:
    silent, other = account.create()["id"], account.create()["id"]
    pod = browser_pod(kube, silent.removeprefix("ses_"))
    assert pod is not None
    agent = pod.metadata["uid"]
    machine.kill(agent, signal.SIGSTOP)
    try:
        started = time.monotonic()
        step = pool.submit(navigate, replica, account, silent, "about:blank", 2000)
        assert navigate(replica, account, other, "about:blank").status_code == 200, "others don't notice"
        answer = step.result()
        took = time.monotonic() - started
        assert (answer.status_code, answer.json()["timeout_ms"]) == (504, 2000)
        assert took < 2 + 2 + 1, "the step's time, the grace for its answer, and a little"
    finally:
        machine.kill(agent, signal.SIGCONT)
    started = time.monotonic()
    eventually(lambda: navigate(replica, account, silent, "about:blank").status_code == 200, 10, "it works again")
    report.add("agent stopped (SIGSTOP) in a step, then let go on", time.monotonic() - started)


@pytest.mark.parametrize(("word", "what"), [(AGENT, "agent"), (BROWSER, "Chromium")])
def test_killed_in_a_step(
    word: bytes,
    what: str,
    machine: Machine,
    kube: pykube.HTTPClient,
    account: Tenant,
    replica: Replica,
    pool: ThreadPoolExecutor,
    report: Report,
) -> None:
    session = account.create()["id"]
    uid = session.removeprefix("ses_")
    pod = browser_pod(kube, uid)
    assert pod is not None
    step = pool.submit(navigate, replica, account, session, SLOW_PAGE.format(20_000))
    eventually(lambda: _phase(kube, account, session) == "busy", 5, "the step is marked")
    started = time.monotonic()
    os.kill(machine.pids(pod.metadata["uid"], word)[0], signal.SIGKILL)
    answer = step.result()
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (502, "driver-error")
    report.add(f"{what} killed in a step: the step is told", time.monotonic() - started)
    assert record_of(kube, account.namespace, uid).spec["phase"] == "errored"
    eventually(lambda: _status(replica, account, session) == "errored", 5, "it shows errored")
    assert navigate(replica, account, session, "about:blank").status_code == 410
