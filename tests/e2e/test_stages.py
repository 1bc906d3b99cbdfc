"""Where a start's time went, as the session's status tells it."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pykube

from driftstack_common.times import parse_time
from tests.e2e.conftest import Tenant
from tests.e2e.objects import BrowserSession

OPERATOR = ["accepted", "podCreated", "podScheduled", "podRunning"]
POD = ["sandbox", "container", "agent", "chromium", "page"]
END = ["claimed", "ready"]
TICK = timedelta(milliseconds=20)
"""The kernel tells a process's start in hundredths of a second, a file's time in ticks."""


def test_a_start_tells_its_stages(account: Tenant, kube: pykube.HTTPClient) -> None:
    uid = account.create()["id"].removeprefix("ses_")
    (found,) = (bs for bs in BrowserSession.objects(kube, namespace=account.namespace) if bs.uid == uid)
    stages = {stage: parse_time(moment) for stage, moment in found.status["stages"].items()}
    if found.status["pool"] == "hit":
        assert set(stages) == {"accepted", *END}, "a warm pod's own start is not the session's"
        return
    assert set(stages) == {*OPERATOR, *POD, *END}
    for order in (["accepted", "podCreated", "podScheduled", *END], [*POD, *END], ["podCreated", *POD]):
        moments = [(stages[stage], stage) for stage in order]
        assert all(later[0] - sooner[0] > -TICK for sooner, later in pairwise(moments)), moments
