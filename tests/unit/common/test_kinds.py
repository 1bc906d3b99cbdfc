from datetime import UTC, datetime, timedelta

import pytest

from driftstack_common.kinds import Account, AccountSpec, Bucket, Overrides, RateLimits, Session, from_body, to_body
from driftstack_common.names import ANNOTATION_CREATED_AT, session_id, session_uid

STORED = datetime(2026, 5, 12, 12, 0, 8, tzinfo=UTC)


def session(**annotations: str) -> Session:
    metadata = {"name": "s", "creationTimestamp": "2026-05-12T12:00:08Z", "annotations": annotations}
    return from_body(Session, {"metadata": metadata, "spec": {}})


def test_creation_is_as_exact_as_the_facade_made_it() -> None:
    made = session(**{ANNOTATION_CREATED_AT: "2026-05-12T12:00:07.123Z"})
    assert made.created_at == datetime(2026, 5, 12, 12, 0, 7, 123000, tzinfo=UTC)


@pytest.mark.parametrize(
    "stamp",
    [
        "yesterday",
        "",
        "2026-05-12T12:00:07",
        pytest.param("2026-05-12T13:00:07.123Z", id="an hour ahead"),
        pytest.param("2026-05-12T11:00:07.123Z", id="an hour behind"),
    ],
)
def test_a_stamp_that_means_nothing_is_not_believed(stamp: str) -> None:
    assert session(**{ANNOTATION_CREATED_AT: stamp}).created_at == STORED


def test_without_a_stamp_the_api_server_knows() -> None:
    assert session().created_at == STORED


UID = "9d2f0c1e-5b7a-4f0e-8a3d-2c6b1e4f7a90"


@pytest.mark.parametrize(
    "text", ["", "ses_", "ses_X", UID, "ses_" + "A" * 36, f"ses_{UID}\n", f"\nses_{UID}", f"ses_{UID}0"]
)
def test_what_is_no_session_id(text: str) -> None:
    assert session_uid(text) is None


def test_session_id_and_back() -> None:
    assert session_uid(session_id(UID)) == UID


def test_overrides_hold_until_they_expire() -> None:
    expires_at = datetime(2026, 5, 12, 12, tzinfo=UTC)
    own = Overrides(concurrent_sessions=5, expires_at=expires_at)
    spec = AccountSpec(overrides=own)
    assert spec.overrides_at(expires_at - timedelta(milliseconds=1)) == own
    assert spec.overrides_at(expires_at) == Overrides()
    for_good = Overrides(concurrent_sessions=5)
    assert AccountSpec(overrides=for_good).overrides_at(expires_at) == for_good


def test_bucket_of_all_other_calls_is_called_global() -> None:
    limits = {"global": {"capacity": 5, "refillPerMinute": 1}}
    body = {"metadata": {"name": "acme"}, "spec": {"overrides": {"rateLimits": limits}}}
    account = from_body(Account, body)
    assert account.spec.overrides.rate_limits == RateLimits(global_=Bucket(capacity=5, refill_per_minute=1))
    assert to_body(account)["spec"]["overrides"]["rateLimits"] == limits
