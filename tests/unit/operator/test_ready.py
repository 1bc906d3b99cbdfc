"""From when a session's time to ready counts."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from driftstack_common.kinds import Session, from_body
from driftstack_common.names import ANNOTATION_CREATED_AT
from driftstack_common.protocol import Claimed
from driftstack_common.times import parse_time
from driftstack_operator.sessions.ready import Observations, begun_at, ready_status
from driftstack_operator.sessions.stages import Moments
from tests.unit.operator.builders import CREATED, pod, session, session_body

STORED = parse_time(CREATED)


def at(seconds: float) -> datetime:
    return STORED + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("seen", "begun"),
    [
        pytest.param(0.4, 0.4, id="seen within its second: the finer word"),
        pytest.param(1.05, 1.05, id="made at the end of its second, seen after it"),
        pytest.param(2.0, 0.0, id="it waited for an operator"),
        pytest.param(120.0, 0.0, id="it waited long"),
        pytest.param(-3.0, -3.0, id="our clock is behind the API server's"),
    ],
)
def test_without_the_facades_word_the_finer_of_the_plausible_times_counts(seen: float, begun: float) -> None:
    assert begun_at(session(), at(seen)) == at(begun)


@pytest.mark.parametrize("seen", [0.5, 120.0])
def test_the_facades_word_goes_before_all(seen: float) -> None:
    made = session(annotations={ANNOTATION_CREATED_AT: "2026-05-12T12:00:00.250Z"})
    assert begun_at(made, at(seen)) == at(0.25)


def test_session_without_any_time_counts_from_its_sight() -> None:
    body = session_body()
    del body["metadata"]["creationTimestamp"]
    assert begun_at(from_body(Session, body), at(9)) == at(9)


def test_time_to_ready_has_the_wait_for_an_operator_in_it() -> None:
    known = Observations(
        pod=pod(),
        slug="default",
        claimed=Claimed(session="s", browser="HeadlessChrome/156", sandbox=None),
        moments=Moments(accepted=at(120), pod_created=at(120.1), pod_running=at(120.4), ready=at(120.5)),
    )
    assert ready_status(session(), known).ready_in == "120.50s"
