"""What follows from an attempt."""

from __future__ import annotations

from datetime import timedelta

import pytest

from driftstack_operator.webhooks.schedule import DELAYS, Answer, after, due_in, given_up
from tests.unit.webhooks.builders import NOW, delivery, endpoint

LATER = NOW + timedelta(seconds=3)


def test_arrived() -> None:
    status = after(delivery(endpoint()), Answer(status=204, excerpt=""), NOW, LATER)
    assert status == {
        "phase": "delivered",
        "attempts": 1,
        "lastAttemptAt": "2026-05-12T12:00:00.000Z",
        "lastResponseStatus": 204,
        "lastResponseExcerpt": None,
        "lastError": None,
        "deliveredAt": "2026-05-12T12:00:03.000Z",
        "nextAttemptAt": None,
    }


@pytest.mark.parametrize(("attempts", "minutes"), [(0, 1), (1, 5), (2, 15), (3, 30), (4, 60)])
def test_next_attempt_counts_from_the_end_of_the_last(attempts: int, minutes: int) -> None:
    status = after(delivery(endpoint(), attempts=attempts), Answer(error="no"), NOW, LATER)
    assert status["phase"] == "failed"
    assert status["attempts"] == attempts + 1
    assert status["nextAttemptAt"] == (LATER + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def test_sixth_failure_is_the_last() -> None:
    status = after(delivery(endpoint(), attempts=len(DELAYS)), Answer(status=500, error="answered 500"), NOW, LATER)
    assert (status["phase"], status["attempts"], status["nextAttemptAt"]) == ("dlq", 6, None)
    assert status["lastError"] == "answered 500"


def test_texts_are_bounded_as_in_the_schema() -> None:
    status = after(delivery(endpoint()), Answer(excerpt="x" * 9999, error="y" * 9999), NOW, LATER)
    assert (len(status["lastResponseExcerpt"]), len(status["lastError"])) == (4096, 1024)
    assert len(given_up("z" * 9999)["lastError"]) == 1024


def test_due() -> None:
    assert due_in(delivery(endpoint()), NOW) == 0
    assert due_in(delivery(endpoint(), nextAttemptAt="2026-05-12T12:01:00.000Z"), NOW) == 60
    assert due_in(delivery(endpoint(), nextAttemptAt="2026-05-12T11:01:00.000Z"), NOW) == 0
