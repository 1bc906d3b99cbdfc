"""What Prometheus reads, on a port of its own; labels come from fixed sets."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

REQUESTS: Final = Histogram(
    "driftstack_api_request_seconds",
    "Time to answer a request.",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120),
)
STEPS: Final = Gauge("driftstack_api_steps_running", "Steps that this replica runs now.")
MARKS: Final = Counter("driftstack_api_busy_marks_total", "Writes of busy and ready, by outcome.", ["outcome"])
QUOTA_RETRIES: Final = Counter(
    "driftstack_api_quota_retries_total", "Creates tried again because the quota lagged behind."
)
DIRECT_LOOKS: Final = Counter("driftstack_api_direct_looks_total", "Reads of the API server for what no cache had.")
DEVTOOLS_OPEN: Final = Gauge("driftstack_api_devtools_open", "DevTools connections of this replica.")
DEVTOOLS_CLOSED: Final = Counter("driftstack_api_devtools_closed_total", "Their ends, by close code.", ["code"])
DEVTOOLS_BYTES: Final = Counter("driftstack_api_devtools_bytes_total", "What they passed on.", ["direction"])
RATE_LIMITED: Final = Counter("driftstack_api_rate_limited_total", "Calls that came too soon.", ["bucket"])
RATE_LIMITS_SHARED: Final = Gauge(
    "driftstack_api_rate_limits_shared", "1 while Redis answers, so that replicas count calls together."
)
CACHE_OBJECTS: Final = Gauge("driftstack_api_cache_objects", "Objects in a cache.", ["kind"])
CACHE_AGE: Final = Gauge("driftstack_api_cache_age_seconds", "Time since a cache was proven complete.", ["kind"])
CACHE_LISTS: Final = Gauge("driftstack_api_cache_lists", "Full lists since the start.", ["kind"])
