"""What follows from an attempt: the delivery's next status, and when to try again. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from driftstack_common.kinds import DeliveryPhase, WebhookDelivery
from driftstack_common.times import format_time

DELAYS: Final = (60.0, 300.0, 900.0, 1800.0, 3600.0)
"""Seconds between an attempt that failed and the next one; the first is made at once."""
LONGEST_EXCERPT: Final = 4096
LONGEST_ERROR: Final = 1024
REFUSED: Final = "refused"
"""Begins the error of an attempt that the rules did not allow."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an attempt.

    Attributes:
        status: of the HTTP answer; None when there was none.
        excerpt: beginning of its body.
        error: why it failed; None when the delivery has arrived.
    """

    status: int | None = None
    excerpt: str | None = None
    error: str | None = None


Status = dict[str, Any]
"""A merge patch of `status`."""


def after(delivery: WebhookDelivery, answer: Answer, begun: datetime, ended: datetime) -> Status:
    """Return the status after an attempt.

    Args:
        begun, ended: the attempt; the schedule counts from its end.
    """
    attempts = delivery.status.attempts + 1
    status: Status = {
        "attempts": attempts,
        "lastAttemptAt": format_time(begun),
        "lastResponseStatus": answer.status,
        "lastResponseExcerpt": answer.excerpt[:LONGEST_EXCERPT] if answer.excerpt else None,
        "lastError": answer.error[:LONGEST_ERROR] if answer.error else None,
    }
    if answer.error is None:
        return status | {
            "phase": DeliveryPhase.DELIVERED.value,
            "deliveredAt": format_time(ended),
            "nextAttemptAt": None,
        }
    if attempts > len(DELAYS):
        return status | {"phase": DeliveryPhase.DLQ.value, "nextAttemptAt": None}
    again = ended + timedelta(seconds=DELAYS[attempts - 1])
    return status | {"phase": DeliveryPhase.FAILED.value, "nextAttemptAt": format_time(again)}


def in_flight(begun: datetime) -> Status:
    """Return the status of a delivery whose attempt takes long."""
    return {"phase": DeliveryPhase.IN_FLIGHT.value, "lastAttemptAt": format_time(begun)}


def given_up(why: str) -> Status:
    """Return the status of a delivery that is not tried any more."""
    return {"phase": DeliveryPhase.DLQ.value, "nextAttemptAt": None, "lastError": why[:LONGEST_ERROR]}


def due_in(delivery: WebhookDelivery, moment: datetime) -> float:
    """Return the seconds until the next attempt; 0 when it is due."""
    due = delivery.status.next_attempt_at
    return max(0.0, (due - moment).total_seconds()) if due is not None else 0.0
