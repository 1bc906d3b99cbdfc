from __future__ import annotations

from datetime import datetime, timedelta

from driftstack_common.kinds.session import Stages
from driftstack_common.protocol import Reached
from driftstack_common.times import parse_time
from driftstack_operator.sessions.stages import Moments, shown, stages

BEGUN = parse_time("2026-05-12T12:00:00.250Z")


def at(seconds: float) -> datetime:
    return BEGUN + timedelta(seconds=seconds)


SEEN = Moments(accepted=at(0.01), pod_created=at(0.03), pod_running=at(0.5), claimed=at(0.7), ready=at(0.71))
REACHED = Reached(sandbox=0.4, container=0.35, agent=0.25, chromium=0.15, page=0.1)


def test_what_the_agent_says_counts_back_from_its_answer() -> None:
    moments = stages(SEEN, REACHED, BEGUN)
    assert moments["sandbox"] == at(0.3)
    assert moments["page"] == at(0.6)
    order = sorted(moments, key=lambda stage: moments[stage])
    first = ["accepted", "pod_created", "sandbox", "container", "agent"]
    assert order == [*first, "pod_running", "chromium", "page", "claimed", "ready"]


def test_what_nobody_saw_is_left_out() -> None:
    assert "pod_scheduled" not in stages(SEEN, REACHED, BEGUN)
    assert "sandbox" not in stages(SEEN, Reached(container=0.3), BEGUN)
    assert set(stages(Moments(accepted=at(0), ready=at(1)), REACHED, BEGUN)) == {"accepted", "ready"}


def test_a_warm_pods_start_is_not_the_sessions() -> None:
    warm = Moments(own=False, accepted=at(0.01), pod_created=at(-60), claimed=at(0.02), ready=at(0.03))
    assert set(stages(warm, Reached(container=59, page=58), BEGUN)) == {"accepted", "claimed", "ready"}


def test_an_own_pods_stages_stay_whatever_the_clocks_say() -> None:
    early = Moments(accepted=at(-0.2), pod_created=at(-0.1), claimed=at(0.2), ready=at(0.3))
    assert stages(early, Reached(container=0.25), BEGUN)["container"] == at(-0.05)
    assert "pod_created" in stages(early, Reached(), BEGUN)


def test_every_stage_is_one_of_the_status() -> None:
    names = {*Moments.__struct_fields__, *Reached.__struct_fields__} - {"own"}
    assert names == set(Stages.__struct_fields__)
    assert shown(stages(SEEN, REACHED, BEGUN)).sandbox == "2026-05-12T12:00:00.550Z"
