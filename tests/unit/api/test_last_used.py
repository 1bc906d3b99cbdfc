"""Uses of keys are written down once a minute, whoever writes them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from driftstack_api import last_used
from driftstack_api.last_used import LastUsed
from driftstack_common.kinds import ApiKey, from_body
from driftstack_common.times import format_time, now
from tests.unit.api.fake_kube import FakeKube


class Clock:
    """The monotonic clock, set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(last_used, "time", clock)
    return clock


def key(kube: FakeKube, used_seconds_ago: float | None = None) -> ApiKey:
    body = {
        "metadata": {"name": "k", "namespace": "acct-a"},
        "spec": {"name": "k", "scopes": ["read"], "sha256": "0" * 64},
    }
    if used_seconds_ago is not None:
        body["status"] = {"lastUsedAt": format_time(now() - timedelta(seconds=used_seconds_ago))}
    return from_body(ApiKey, kube.put("apikeys", body))


def writes(kube: FakeKube) -> int:
    return kube.calls.count(("patch", "apikeys"))


async def test_once_a_minute(clock: Clock) -> None:
    kube = FakeKube()
    uses, noted = LastUsed(kube), key(kube)
    for seconds, written in ((0, 1), (1, 1), (59, 1), (60, 2), (119, 2), (120, 3)):
        clock.now = 1000.0 + seconds
        uses.note(noted)
        await uses.drain(1)
        assert writes(kube) == written, seconds


async def test_what_another_replica_has_written_is_enough(clock: Clock) -> None:
    kube = FakeKube()
    uses = LastUsed(kube)
    uses.note(key(kube, used_seconds_ago=50))
    await uses.drain(1)
    assert writes(kube) == 0
    clock.now += 11  # when that stamp is a minute old
    uses.note(key(kube, used_seconds_ago=61))
    await uses.drain(1)
    assert writes(kube) == 1


async def test_a_key_that_was_made_anew_is_another(clock: Clock) -> None:
    kube = FakeKube()
    uses = LastUsed(kube)
    uses.note(key(kube))
    kube.remove("apikeys", "acct-a", "k")
    key(kube)
    await uses.drain(1)
    assert "status" not in kube.objects["apikeys", "acct-a", "k"]
