"""The agent's messages as they are on the wire."""

from __future__ import annotations

import msgspec
import pytest

from driftstack_common.protocol import (
    STATUS,
    Claim,
    Claimed,
    Navigate,
    Problem,
    ProblemCode,
    Sandbox,
    Termination,
)


def test_a_claim_on_the_wire() -> None:
    wire = (
        b'{"session":"u","device":{"viewport":{"width":800,"height":600},"pixelRatio":2.0,"userAgent":"UA"},'
        b'"limits":{"idle_seconds":60,"duration_seconds":null},"pace":"casual"}'
    )
    claim = msgspec.json.decode(wire, type=Claim)
    assert (claim.device.pixel_ratio, claim.device.user_agent, claim.device.locale) == (2.0, "UA", "en-US")
    assert (claim.limits.idle_seconds, claim.limits.duration_seconds, claim.pace) == (60, None, "casual")
    assert msgspec.json.decode(msgspec.json.encode(claim), type=Claim) == claim


@pytest.mark.parametrize(
    "wire",
    [
        b'{"url":"http://a.test/","surprise":1}',
        b'{"url":"http://a.test/","timeout_ms":120001}',
        b'{"url":"http://a.test/","timeout_ms":1.5}',
        b'{"wait_until":"load"}',
    ],
)
def test_a_message_to_the_agent_is_strict(wire: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(wire, type=Navigate)


def test_an_answer_of_a_newer_agent_is_understood() -> None:
    claimed = msgspec.json.decode(b'{"session":"u","browser":"b","sandbox":null,"new":1}', type=Claimed)
    assert claimed == Claimed(session="u", browser="b", sandbox=None)


def test_every_problem_has_a_status() -> None:
    assert set(STATUS) == set(ProblemCode)
    assert all(status >= 400 for status in STATUS.values())


def test_a_problem_on_the_wire() -> None:
    problem = Problem(code=ProblemCode.TOO_LARGE, message="m", details={"limit_bytes": 1, "size_bytes": 2})
    assert msgspec.json.encode(problem) == (
        b'{"code":"too-large","message":"m","details":{"limit_bytes":1,"size_bytes":2}}'
    )
    assert msgspec.json.decode(b'{"reason":"idle"}', type=Termination).message == ""


@pytest.mark.parametrize(
    ("namespace", "own", "browsers", "proven"),
    [(True, 2, 1, True), (True, 1, 0, True), (True, 1, 1, False), (False, 2, 1, False)],
)
def test_proof_needs_both_layers(namespace: bool, own: int, browsers: int, proven: bool) -> None:
    sandbox = Sandbox(user_namespace=namespace, seccomp_filters=own, browser_seccomp_filters=browsers)
    assert sandbox.proven is proven
