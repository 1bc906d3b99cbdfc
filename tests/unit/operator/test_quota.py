"""The quota of an account and its traps."""

from __future__ import annotations

from typing import Any

import pytest

from driftstack_common.names import KEY_QUOTA, SESSION_QUOTA
from driftstack_operator.accounts.quota import SHAKEN, build_quota, in_force, miscounted, next_shake, read_quota

OBJECTS = {KEY_QUOTA: 9}


def view(cap: int = 8, *, hard: Any = None, used: Any = None) -> Any:
    body = build_quota("acme", "acct-acme", cap, OBJECTS)
    body["status"] = {
        "hard": {} if hard is None else {SESSION_QUOTA: hard},
        "used": {} if used is None else {SESSION_QUOTA: used},
    }
    return read_quota(body)


def test_whole_quota() -> None:
    assert build_quota("acme", "acct-acme", 8, OBJECTS) == {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {
            "name": "driftstack-sessions",
            "namespace": "acct-acme",
            "labels": {"driftstack.dev/account": "acme"},
        },
        "spec": {"hard": {SESSION_QUOTA: "8", KEY_QUOTA: "9", SHAKEN: "1000000"}},
    }


@pytest.mark.parametrize(
    ("hard", "used", "force"),
    [(None, None, False), ("8", None, False), ("7", "0", False), ("8", "0", True), ("8k", "0", False)],
)
def test_in_force_only_when_limited_and_counted(hard: str | None, used: str | None, force: bool) -> None:
    assert in_force(view(8, hard=hard, used=used), 8) is force


def test_no_quota_is_not_in_force() -> None:
    assert in_force(None, 8) is False


@pytest.mark.parametrize(
    ("used", "live", "wrong"), [(None, 0, False), ("2", 2, False), ("3", 2, True), ("1", 2, True)]
)
def test_miscounted(used: str | None, live: int, wrong: bool) -> None:
    assert miscounted(view(8, hard="8", used=used), live) is wrong


@pytest.mark.parametrize(
    ("written", "meant"),
    [("999", 999), ("1k", 1000), ("12k", 12_000), ("3M", 3_000_000), ("1500m", None), ("k", None)],
)
def test_numbers_as_the_api_server_writes_them(written: str, meant: int | None) -> None:
    body = build_quota("acme", "acct-acme", 8, OBJECTS)
    body["spec"]["hard"] = {SESSION_QUOTA: written, KEY_QUOTA: written}
    quota = read_quota(body)
    assert (quota.spec_limit, quota.objects) == (meant, {KEY_QUOTA: meant or 0})


def test_shaking_changes_the_unrelated_key_each_time() -> None:
    first = view()
    second = read_quota(build_quota("acme", "acct-acme", 8, OBJECTS, next_shake(first)))
    assert second.shaken != first.shaken
    assert next_shake(second) == first.shaken
    assert (second.spec_limit, second.objects) == (first.spec_limit, OBJECTS)
