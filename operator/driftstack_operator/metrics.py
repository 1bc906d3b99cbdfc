"""What the operator counts, for Prometheus; label values come from fixed sets."""

from __future__ import annotations

from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from driftstack_operator.streams import Streams

STAGE_BUCKETS: Final = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The operator's metrics; a registry of its own, so that tests can make many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.started = Counter(
            "driftstack_sessions_started", "Sessions that became ready.", ["pool"], registry=self.registry
        )
        self.ended = Counter(
            "driftstack_sessions_ended",
            "Sessions that ended, by cause.",
            ["phase", "reason"],
            registry=self.registry,
        )
        self.stages = Histogram(
            "driftstack_session_stage_seconds",
            "Time from the creation of a session to each stage of its start.",
            ["stage"],
            buckets=STAGE_BUCKETS,
            registry=self.registry,
        )
        self.leading = Gauge(
            "driftstack_operator_leading",
            "1 while this operator leads, 0 while it stands by.",
            registry=self.registry,
        )
        self.terms = Counter(
            "driftstack_operator_terms", "Times that this operator began to lead.", registry=self.registry
        )
        self.live = Gauge(
            "driftstack_sessions_live", "Sessions that have not ended; the leader counts.", registry=self.registry
        )
        self.queue_depth = Gauge(
            "driftstack_workqueue_depth", "Keys that wait for a worker.", registry=self.registry
        )
        self.queue_retries = Counter(
            "driftstack_workqueue_retries", "Reconciliations that failed and are repeated.", registry=self.registry
        )
        self.repairs = Counter(
            "driftstack_sweep_repairs", "Objects that only a LIST showed.", ["kind"], registry=self.registry
        )
        self.events_dropped = Counter(
            "driftstack_events_dropped",
            "Kubernetes Events that the API server will not take.",
            registry=self.registry,
        )
        self.loop_lag = Gauge(
            "driftstack_event_loop_lag_seconds", "Longest wait for the event loop lately.", registry=self.registry
        )
        self.watch_age = Gauge(
            "driftstack_watch_age_seconds",
            "Time since the watch of a kind was last proven to have brought everything.",
            ["kind"],
            registry=self.registry,
        )
        self.watch_interruptions = Gauge(
            "driftstack_watch_interruptions",
            "How often the watch of a kind broke off.",
            ["kind"],
            registry=self.registry,
        )
        self.records_removed = Counter(
            "driftstack_records_removed", "Records removed by the retention rules.", registry=self.registry
        )

    def show_streams(self, streams: Streams) -> None:
        """Show what is known of the watches, as of each scrape."""
        for kind in streams.kinds:
            self.watch_age.labels(kind).set_function(partial(streams.age, kind))
            self.watch_interruptions.labels(kind).set_function(partial(streams.interruptions, kind))
