from __future__ import annotations

import json

import pytest

from driftstack_api.settings import load_settings
from driftstack_common.errors import SettingsError
from driftstack_common.kinds import Bucket, Tier
from driftstack_common.tiers import DEFAULT_TIERS


def test_tiers_are_the_operators_table(monkeypatch: pytest.MonkeyPatch) -> None:
    buckets = {bucket: {"capacity": 7, "refillPerMinute": 1} for bucket in ("global", "sessionsCreate")}
    monkeypatch.setenv("DRIFTSTACK_TIERS", json.dumps({"free": {"rateLimits": buckets}}))
    tiers = load_settings().tiers
    assert tiers[Tier.FREE].rate_limits.sessions_create == Bucket(capacity=7, refill_per_minute=1)
    assert tiers[Tier.FREE].profiles == 1
    assert tiers[Tier.ENTERPRISE] == DEFAULT_TIERS[Tier.ENTERPRISE]
    monkeypatch.setenv("DRIFTSTACK_TIERS", json.dumps({"free": {"profiles": -1}}))
    with pytest.raises(SettingsError, match=r"^DRIFTSTACK_TIERS: .*profiles"):
        load_settings()


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRIFTSTACK_API_PORT", raising=False)
    assert load_settings().port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [("PROT", "8000"), ("PORT", "tcp://10.96.0.1:80"), ("PORT", "70000"), ("PROBLEM_TYPE_BASE", "errors/")],
)
def test_what_cannot_work_names_the_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"DRIFTSTACK_API_{name}", value)
    with pytest.raises(SettingsError, match=f"DRIFTSTACK_API_{name}"):
        load_settings()
