"""What tiers and overrides allow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from driftstack_common.kinds import SessionSpec
from driftstack_common.protocol import Limits
from driftstack_common.tiers import DEFAULT_TIERS
from driftstack_operator.policy import cap_of, limits_of
from tests.unit.operator.builders import account

NOW = datetime(2026, 5, 12, 12, tzinfo=UTC)
PAST, FUTURE = "2026-05-12T11:59:59Z", "2026-05-12T12:00:01Z"


@pytest.mark.parametrize(
    ("spec", "cap"),
    [
        ({"tier": "free"}, 1),
        ({"tier": "api_scale"}, 24),
        ({"tier": "free", "overrides": {"concurrentSessions": 100}}, 100),
        ({"tier": "free", "overrides": {"concurrentSessions": 0}}, 0),
        ({"tier": "free", "overrides": {"concurrentSessions": 100, "expiresAt": FUTURE}}, 100),
        ({"tier": "free", "overrides": {"concurrentSessions": 100, "expiresAt": PAST}}, 1),
        ({"tier": "enterprise", "suspended": True}, 0),
    ],
)
def test_cap(spec: dict[str, Any], cap: int) -> None:
    assert cap_of(account(**spec), DEFAULT_TIERS, NOW) == cap


@pytest.mark.parametrize(
    ("asked", "spec", "limits"),
    [
        ((None, None), {"tier": "free"}, (1800, 1200)),
        ((None, None), {"tier": "api_scale"}, (1800, None)),
        ((60, 90), {"tier": "free"}, (60, 90)),
        ((9999, 9999), {"tier": "free"}, (1800, 1200)),
        ((9999, 9999), {"tier": "free", "overrides": {"idleTimeoutSeconds": 7200}}, (7200, 1200)),
        ((None, 9999), {"tier": "api_scale"}, (1800, 9999)),
        ((None, 9999), {"tier": "api_scale", "overrides": {"maxDurationSeconds": 50}}, (1800, 50)),
        ((None, None), {"tier": "free", "overrides": {"maxDurationSeconds": 9, "expiresAt": PAST}}, (1800, 1200)),
    ],
)
def test_limits(
    asked: tuple[int | None, int | None], spec: dict[str, Any], limits: tuple[int | None, int | None]
) -> None:
    session = SessionSpec(idle_timeout_seconds=asked[0], max_duration_seconds=asked[1])
    expected = Limits(idle_seconds=limits[0], duration_seconds=limits[1])
    assert limits_of(session, account(**spec), DEFAULT_TIERS, NOW) == expected
