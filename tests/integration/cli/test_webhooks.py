"""Webhooks, against the real facade on loopback."""

from __future__ import annotations

import yaml

from tests.integration.cli.conftest import Command, Rest

URL = "https://hooks.example.com/driftstack"


def make(driftstack: Command, *words: str) -> str:
    """Return the id of a new endpoint."""
    return str(driftstack("webhook", "create", URL, *words, "-o", "json").json()["id"])


def test_create_prints_the_secret_alone(rest: Rest, driftstack: Command) -> None:
    made = driftstack("webhook", "create", URL, "--description", "orders")
    assert made.code == 0
    assert made.out.startswith("whsec_")
    assert len(made.out.split()) == 1
    assert "shown only now" in made.err
    (shown,) = driftstack("webhook", "list", "-o", "json").json()["data"]
    assert shown["id"] in made.err
    assert (shown["events"], shown["description"]) == (["session.completed", "session.failed"], "orders")
    told = driftstack("webhook", "show", shown["id"]).out
    assert all(word in told for word in (shown["id"], URL, "orders", "active", made.out[:10]))
    assert made.out.strip() not in told


def test_events_are_chosen(rest: Rest, driftstack: Command) -> None:
    webhook = make(driftstack, "--event", "api_key.revoked", "--event", "api_key.revoked")
    shown = driftstack("webhook", "show", webhook, "-o", "yaml")
    assert yaml.safe_load(shown.out)["events"] == ["api_key.revoked"]
    assert driftstack("webhook", "create", URL, "--event", "test.ping").code == 2


def test_tests_deliveries_and_replays(rest: Rest, driftstack: Command) -> None:
    webhook = make(driftstack)
    empty = driftstack("webhook", "deliveries", webhook)
    assert (empty.code, empty.out) == (0, "")
    sent = [driftstack("webhook", "test", webhook).out.strip() for _ in range(3)]
    assert all(one.startswith("wdl_") for one in sent)
    table = driftstack("webhook", "deliveries", webhook, "--all").out.splitlines()
    assert table[0].split() == ["ID", "EVENT", "STATUS", "ATTEMPTS", "HTTP", "WHY", "AGE"]
    assert {line.split()[0] for line in table[1:]} == set(sent)
    page = driftstack("webhook", "deliveries", webhook, "--limit", "2", "-o", "json").json()
    assert (len(page["data"]), page["has_more"]) == (2, True)
    rest_of_it = driftstack("webhook", "deliveries", webhook, "--cursor", page["next_cursor"], "-o", "json").json()
    assert len(rest_of_it["data"]) == 1
    assert driftstack("webhook", "deliveries", webhook, "--status", "dlq", "-o", "json").json()["data"] == []
    assert "--all" in driftstack("webhook", "deliveries", webhook, "--limit", "1").err
    done = driftstack("webhook", "replay", *sent)
    assert (done.code, len(done.out.splitlines())) == (0, 3)


def test_rotate_and_delete(rest: Rest, driftstack: Command) -> None:
    webhook = make(driftstack)
    rotated = driftstack("webhook", "rotate", webhook)
    assert rotated.out.startswith("whsec_")
    assert "24 hours" in rotated.err
    assert "Old secret" in driftstack("webhook", "show", webhook).out
    for _ in range(2):
        assert driftstack("webhook", "delete", webhook, "-o", "json").json() == {"deleted": [webhook]}
    assert "disabled" in driftstack("webhook", "list").out
    for command in ("test", "rotate"):
        assert driftstack("webhook", command, webhook).code == 7


def test_refusals(rest: Rest, driftstack: Command) -> None:
    assert "No webhook endpoints" in driftstack("webhook", "list").err
    refused = driftstack("webhook", "create", "https://127.0.0.1/")
    assert refused.code == 2
    assert "loopback" in refused.err
    missing = driftstack("webhook", "show", "whk_00000000-0000-4000-8000-000000000000")
    assert missing.code == 3
    assert "driftstack webhook list" in missing.err
