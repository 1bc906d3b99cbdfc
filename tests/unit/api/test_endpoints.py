"""The pure parts of endpoints, agents, authorization and creation."""

from __future__ import annotations

import re

import pytest
from starlette.requests import Request

from driftstack_api.agents import problem_of
from driftstack_api.auth import permits
from driftstack_api.problems import Problem
from driftstack_api.sessions.create import body_hash, random_name
from driftstack_api.sessions.headers import preferred_wait
from driftstack_api.sessions.schemas import CreateSession
from driftstack_api.wire import whole
from driftstack_common.agent_client import AgentProblem, AgentTimeout, AgentUnreachable
from driftstack_common.protocol import ProblemCode


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", None),
        ("respond-async", None),
        ("wait=5", 5),
        ("respond-async, wait = 7;x=y", 7),
        ('WAIT="3"', 3),
        ("wait=31", 30),
        ("wait=999999999", 30),
        ("wait=-1", None),
        ("wait=soon, wait=2", 2),
        ("waiting=5", None),
    ],
)
def test_prefer(header: str, seconds: int | None) -> None:
    assert preferred_wait(_request(("prefer", header))) == seconds


def test_prefer_in_several_headers_or_none() -> None:
    assert preferred_wait(_request(("prefer", "respond-async"), ("prefer", "wait=4"))) == 4
    assert preferred_wait(_request()) is None


def _request(*headers: tuple[str, str]) -> Request:
    return Request({"type": "http", "headers": [(name.encode(), value.encode()) for name, value in headers]})


@pytest.mark.parametrize(
    ("scopes", "needed", "allowed"),
    [
        (["read"], "read:sessions", True),
        (["read"], "write:sessions", False),
        (["write"], "read:sessions", False),
        (["read:sessions"], "read:sessions", True),
        (["read:profiles"], "read:sessions", False),
        (["account_owner"], "write:sessions", True),
        (["account_owner"], "admin:api-keys", True),
        (["read", "write"], "admin:api-keys", False),
        ([], "read:sessions", False),
    ],
)
def test_scopes(scopes: list[str], needed: str, allowed: bool) -> None:
    assert permits(scopes, needed) is allowed


@pytest.mark.parametrize("code", list(ProblemCode))
def test_every_refusal_of_an_agent_is_a_problem(code: ProblemCode) -> None:
    problem = problem_of(AgentProblem(code, "text"), 1000)
    assert 400 <= problem.status < 600


def test_broken_agents() -> None:
    assert problem_of(AgentTimeout("x"), 1000).slug == "session-timeout"
    assert problem_of(AgentUnreachable("x", sent=True), 1000).slug == "driver-error"


def test_the_same_body_in_other_words() -> None:
    one = CreateSession.model_validate_json('{"label": "a", "metadata": {"x": 1, "y": "é"}, "purpose": null}')
    two = CreateSession.model_validate_json('{"metadata": {"y": "\\u00e9", "x": 1}, "label": "a"}')
    other = CreateSession.model_validate_json('{"metadata": {"y": "e", "x": 1}, "label": "a"}')
    assert body_hash(one) == body_hash(two) != body_hash(other)
    assert re.fullmatch("[0-9a-f]{64}", body_hash(one))


def test_names_are_never_used_twice() -> None:
    names = {random_name() for _ in range(1000)}
    assert len(names) == 1000
    assert all(re.fullmatch("rest-[a-z0-9]{20}", name) for name in names)


def test_what_is_no_request_gets_a_whole_answer() -> None:
    head, _, body = whole(Problem("bad-request", "No."), "https://e/").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert b'"type":"https://e/bad-request"' in body
