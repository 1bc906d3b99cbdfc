"""What the dispatcher counts, for Prometheus; label values come from fixed sets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from driftstack_common.kinds import DeliveryPhase
from driftstack_operator.webhooks.schedule import REFUSED, Answer

UNFINISHED: Final = (DeliveryPhase.PENDING, DeliveryPhase.IN_FLIGHT, DeliveryPhase.FAILED)
SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The dispatcher's metrics; a registry of its own, so that tests can make many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.attempts = Counter(
            "driftstack_webhook_attempts",
            "Attempts by what came of them: a class of statuses, refused (by the rules), or no_answer.",
            ["outcome"],
            registry=self.registry,
        )
        self.finished = Counter(
            "driftstack_webhook_deliveries_finished",
            "Deliveries that arrived (delivered) or were given up (dlq).",
            ["phase"],
            registry=self.registry,
        )
        self.attempt_seconds = Histogram(
            "driftstack_webhook_attempt_seconds",
            "Duration of attempts.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.depth = Gauge(
            "driftstack_webhook_deliveries",
            "Unfinished deliveries to endpoints of this dispatcher.",
            ["phase"],
            registry=self.registry,
        )
        self.oldest = Gauge(
            "driftstack_webhook_oldest_due_seconds",
            "Age of the oldest event that is due and not delivered; paused endpoints apart.",
            registry=self.registry,
        )
        self.shards = Gauge(
            "driftstack_webhook_shards", "Shards that this dispatcher holds.", registry=self.registry
        )
        self.watch_age = Gauge(
            "driftstack_watch_age_seconds",
            "Time since the watch of a kind was last proven to have brought everything.",
            ["kind"],
            registry=self.registry,
        )

    def show(self, depth: Callable[[DeliveryPhase], float], oldest: Callable[[], float]) -> None:
        """Show the queue as of each scrape."""
        for phase in UNFINISHED:
            self.depth.labels(phase.value).set_function(partial(depth, phase))
        self.oldest.set_function(oldest)


def outcome_of(answer: Answer) -> str:
    """Return the label of an attempt."""
    if answer.status is not None:
        return f"{answer.status // 100}xx"
    return REFUSED if (answer.error or "").startswith(REFUSED) else "no_answer"
