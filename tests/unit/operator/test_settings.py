"""Settings from the environment."""

from __future__ import annotations

import json

import pytest

from driftstack_common.errors import SettingsError
from driftstack_common.kinds import Tier
from driftstack_common.tiers import DEFAULT_TIERS
from driftstack_operator.settings import PREFIX, load_settings


def test_defaults() -> None:
    settings = load_settings()
    assert settings.browser_namespace == "driftstack-browsers"
    assert settings.tiers == DEFAULT_TIERS


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}START_TIMEOUT_SECONDS", "12")
    free = {"free": {"concurrentSessions": 5, "maxDurationSeconds": 60}}
    monkeypatch.setenv("DRIFTSTACK_TIERS", json.dumps(free))
    settings = load_settings()
    assert settings.start_timeout_seconds == 12
    assert settings.tiers[Tier.FREE].concurrent_sessions == 5
    assert settings.tiers[Tier.FREE].idle_timeout_seconds == 1800
    assert settings.tiers[Tier.API_SCALE] == DEFAULT_TIERS[Tier.API_SCALE]


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        (f"{PREFIX}START_TIMEOUT", "12", "START_TIMEOUT"),
        (f"{PREFIX}WORKERS", "none", "workers"),
        (f"{PREFIX}WORKERS", "0", "workers"),
        (f"{PREFIX}WARM_ANSWER_SECONDS", "0", "warm_answer_seconds"),
        ("DRIFTSTACK_TIERS", '{"free": {"sessions": 1}}', "sessions"),
        ("DRIFTSTACK_TIERS", '{"gold": {"concurrentSessions": 1}}', "gold"),
    ],
)
def test_what_can_not_work_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, named: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=named):
        load_settings()
