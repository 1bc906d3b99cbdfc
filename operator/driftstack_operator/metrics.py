"""What the operator counts, for Prometheus; label values come from fixed sets."""

from __future__ import annotations

from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from driftstack_operator.pools.status import Count
from driftstack_operator.streams import Streams

CLAIM_BUCKETS: Final = (0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0, 5.0)
STAGE_BUCKETS: Final = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0)


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

        self.deliveries_removed = Counter(
            "driftstack_webhook_deliveries_removed",
            "Finished deliveries removed by the retention rules.",
            registry=self.registry,
        )
        pool = ["pool"]
        self.pool_pods = Gauge(
            "driftstack_pool_pods",
            "Pods of a pool: warm, starting, claimed.",
            [*pool, "state"],
            registry=self.registry,
        )
        self.pool_desired = Gauge("driftstack_pool_desired", "Warm pods to keep.", pool, registry=self.registry)
        self.pool_claims = Counter(
            "driftstack_pool_claims",
            "Sessions by what the pool had for them: hit, miss; lost is a warm pod that did not answer.",
            [*pool, "result"],
            registry=self.registry,
        )
        self.pool_claim_seconds = Histogram(
            "driftstack_pool_claim_seconds",
            "Time from the choice of a warm pod until API server and agent have both given it to the session.",
            pool,
            buckets=CLAIM_BUCKETS,
            registry=self.registry,
        )
        self.pool_refill = Histogram(
            "driftstack_pool_refill_seconds",
            "Time from a warm pod's creation until its agent answers.",
            pool,
            buckets=STAGE_BUCKETS,
            registry=self.registry,
        )
        self.pool_started = Counter(
            "driftstack_pool_pods_started", "Warm pods created.", pool, registry=self.registry
        )
        self.pool_removed = Counter(
            "driftstack_pool_pods_removed",
            "Warm pods removed: failed, outdated, surplus; gave-way to a session's pod that lacked room.",
            [*pool, "cause"],
            registry=self.registry,
        )

    def show_pool(self, name: str, count: Count) -> None:
        """Show how a pool stands."""
        states = (("warm", count.ready), ("starting", count.starting), ("claimed", count.claimed))
        for state, pods in states:
            self.pool_pods.labels(name, state).set(pods)
        self.pool_desired.labels(name).set(count.desired)

    def forget_pool(self, name: str) -> None:
        """A pool is gone."""
        self.pool_pods.remove_by_labels({"pool": name})
        self.pool_desired.remove_by_labels({"pool": name})

    def forget_pools(self) -> None:
        """Show no pool any more."""
        self.pool_pods.clear()
        self.pool_desired.clear()

    def show_streams(self, streams: Streams) -> None:
        """Show what is known of the watches, as of each scrape."""
        for kind in streams.kinds:
            self.watch_age.labels(kind).set_function(partial(streams.age, kind))
            self.watch_interruptions.labels(kind).set_function(partial(streams.interruptions, kind))
