"""A session's own clocks: an idle one and one out of time end as destroyed, without anybody's doing."""

from __future__ import annotations

import pykube

from tests.e2e.conftest import Tenant
from tests.e2e.objects import apply_session, browser_pod, eventually, record_of, wait_ready


def test_idle_and_out_of_time(account: Tenant, kube: pykube.HTTPClient) -> None:
    limits = {"idle": {"idleTimeoutSeconds": 10}, "long": {"maxDurationSeconds": 10}}
    started = {name: apply_session(kube, account.namespace, name, **spec) for name, spec in limits.items()}
    for name in limits:
        wait_ready(kube, account.namespace, name)
    ended = {name: record_of(kube, account.namespace, made.uid).spec for name, made in started.items()}
    assert (ended["idle"]["phase"], ended["idle"]["reason"]) == ("destroyed", "IdleTimeout")
    assert (ended["long"]["phase"], ended["long"]["reason"]) == ("destroyed", "MaxDuration")
    for made in started.values():
        eventually(lambda uid=made.uid: browser_pod(kube, uid) is None, 30, "the pod is gone")
        assert account.get(f"ses_{made.uid}")["status"] == "destroyed"
