"""What an endpoint's status says: counts, failures in a row, and whether it is ready. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from driftstack_common.kinds import Condition, WebhookEndpoint
from driftstack_common.kinds.webhook_endpoint import MOST_FAILURES
from driftstack_common.times import format_time

READY: Final = "Ready"


class Verdict(msgspec.Struct, frozen=True):
    """Whether deliveries are sent, and why (not)."""

    ready: bool
    reason: str
    message: str


class Tally(msgspec.Struct, kw_only=True):
    """What happened since the status was last written.

    Attributes:
        row: deliveries given up since the last one that arrived.
        broken: one has arrived, so the row of before is over.
    """

    delivered: int = 0
    failed: int = 0
    dlq: int = 0
    row: int = 0
    broken: bool = False
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None

    def count(self, moment: datetime, *, arrived: bool, last: bool) -> None:
        """Take in an attempt; `last` when the delivery is given up after it."""
        if arrived:
            self.delivered += 1
            self.row, self.broken = 0, True
            self.last_success_at = moment
            return
        self.failed += 1
        self.last_failure_at = moment
        if last:
            self.dlq += 1
            self.row += 1

    def plus(self, later: Tally) -> Tally:
        """Return both in one."""
        return Tally(
            delivered=self.delivered + later.delivered,
            failed=self.failed + later.failed,
            dlq=self.dlq + later.dlq,
            row=later.row if later.broken else self.row + later.row,
            broken=self.broken or later.broken,
            last_success_at=later.last_success_at or self.last_success_at,
            last_failure_at=later.last_failure_at or self.last_failure_at,
        )


def judge(endpoint: WebhookEndpoint, refused: str | None, no_key: tuple[str, str] | None) -> Verdict:
    """Return the verdict on an endpoint.

    Args:
        refused: why its URL can't be sent to, whatever its name resolves to.
        no_key: reason and message, when it has no key to sign with.
    """
    if endpoint.spec.disabled:
        return Verdict(False, "Disabled", "spec.disabled is set: what was not delivered is given up")
    if endpoint.failed:
        why = f"{MOST_FAILURES} deliveries in a row were given up; any change of the spec enables it again"
        return Verdict(False, "TooManyFailures", why)
    if endpoint.spec.paused:
        return Verdict(False, "Paused", "spec.paused is set: deliveries wait")
    if no_key is not None:
        return Verdict(False, *no_key)
    if refused is not None:
        return Verdict(False, "UrlRefused", refused)
    return Verdict(True, "Sending", "deliveries are sent")


def status_patch(endpoint: WebhookEndpoint, tally: Tally, verdict: Verdict, moment: datetime) -> dict[str, Any]:
    """Return the merge patch of the status; empty when it says nothing new."""
    meta, status = endpoint.metadata, endpoint.status
    row = tally.row if tally.broken else status.consecutive_failures + tally.row
    if status.disabled_generation is not None and not endpoint.failed:  # enabled again: it begins anew
        row = tally.row
    new: dict[str, Any] = {
        "consecutiveFailures": row,
        "lastSuccessAt": _stamp(tally.last_success_at or status.last_success_at),
        "lastFailureAt": _stamp(tally.last_failure_at or status.last_failure_at),
        "counts": {
            "delivered": status.counts.delivered + tally.delivered,
            "failed": status.counts.failed + tally.failed,
            "dlq": status.counts.dlq + tally.dlq,
        },
        "observedGeneration": meta.generation,
        **_disabling(endpoint, row, moment),
    }
    if new["disabledGeneration"] == meta.generation:
        verdict = judge(_with_generation(endpoint, meta.generation), None, None)
    new["conditions"] = [_condition(endpoint, verdict, moment)]
    return new if _differs(endpoint, new) else {}


def _disabling(endpoint: WebhookEndpoint, row: int, moment: datetime) -> dict[str, Any]:
    status = endpoint.status
    if endpoint.spec.disabled:
        at = endpoint.spec.disabled_at or status.disabled_at or moment
        return {"disabledAt": _stamp(at), "disabledGeneration": None}
    if endpoint.failed or row >= MOST_FAILURES:
        at = status.disabled_at if endpoint.failed and status.disabled_at else moment
        return {"disabledAt": _stamp(at), "disabledGeneration": endpoint.metadata.generation}
    return {"disabledAt": None, "disabledGeneration": None}


def _with_generation(endpoint: WebhookEndpoint, generation: int) -> WebhookEndpoint:
    status = msgspec.structs.replace(endpoint.status, disabled_generation=generation)
    return msgspec.structs.replace(endpoint, status=status)


def _condition(endpoint: WebhookEndpoint, verdict: Verdict, moment: datetime) -> dict[str, Any]:
    state = "True" if verdict.ready else "False"
    old = _ready(endpoint)
    since = old.last_transition_time if old is not None and old.status == state else format_time(moment)
    return {
        "type": READY,
        "status": state,
        "reason": verdict.reason,
        "message": verdict.message,
        "lastTransitionTime": since,
        "observedGeneration": endpoint.metadata.generation,
    }


def _ready(endpoint: WebhookEndpoint) -> Condition | None:
    return next((each for each in endpoint.status.conditions if each.type == READY), None)


def _differs(endpoint: WebhookEndpoint, new: dict[str, Any]) -> bool:
    status, ready = endpoint.status, _ready(endpoint)
    old = {
        "consecutiveFailures": status.consecutive_failures,
        "lastSuccessAt": _stamp(status.last_success_at),
        "lastFailureAt": _stamp(status.last_failure_at),
        "counts": {"delivered": status.counts.delivered, "failed": status.counts.failed, "dlq": status.counts.dlq},
        "observedGeneration": status.observed_generation,
        "disabledAt": _stamp(status.disabled_at),
        "disabledGeneration": status.disabled_generation,
        "conditions": [msgspec.to_builtins(ready)] if ready is not None else [],
    }
    return old != new


def _stamp(moment: datetime | None) -> str | None:
    return format_time(moment) if moment is not None else None
