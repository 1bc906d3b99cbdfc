"""Sessions, against the real facade on loopback."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml

from tests.integration.api.world import PNG
from tests.integration.cli.conftest import Command, Done, Rest

UNKNOWN = "ses_00000000-0000-4000-8000-000000000000"


def ready(driftstack: Command, *words: str) -> str:
    done = driftstack("session", "create", "--wait", *words)
    assert done.code == 0, done.err
    return done.out.strip()


def test_create_prints_the_id_alone(rest: Rest, driftstack: Command) -> None:
    session = ready(driftstack, "--label", "a note", "--metadata", "ticket=T-1", "--metadata", "x=y=z")
    shown = driftstack("session", "show", session, "-o", "json").json()
    assert (shown["id"], shown["status"], shown["label"]) == (session, "ready", "a note")
    assert shown["metadata"] == {"ticket": "T-1", "x": "y=z"}
    told = driftstack("session", "show", session).out
    assert all(word in told for word in (session, "ready", "a note", "T-1"))


def test_an_idempotency_key_gives_the_same_session(rest: Rest, driftstack: Command) -> None:
    words = ("session", "create", "--idempotency-key", "k", "-o", "json")
    first = driftstack(*words).json()
    assert driftstack(*words).json()["id"] == first["id"]
    other = driftstack(*words, "--label", "another body")
    assert other.code == 7


def test_list_in_pages(rest: Rest, driftstack: Command) -> None:
    rest.background.call(rest.world.add_account, "acme", limit=5)
    made = [driftstack("session", "create").out.strip() for _ in range(3)]
    page = driftstack("session", "list", "--limit", "2", "-o", "json").json()
    assert [one["id"] for one in page["data"]] == made[:0:-1]
    assert page["has_more"]
    left = driftstack("session", "list", "--cursor", page["next_cursor"], "-o", "yaml")
    assert [one["id"] for one in yaml.safe_load(left.out)["data"]] == made[:1]
    done = driftstack("session", "list", "--limit", "2")
    assert done.out.splitlines()[0].split() == ["ID", "STATUS", "ARCHETYPE", "LABEL", "AGE", "LASTED"]
    assert "--all" in done.err
    everything = driftstack("session", "list", "--all")
    assert [line.split()[0] for line in everything.out.splitlines()[1:]] == made[::-1]
    assert everything.err == ""


def test_an_empty_list_says_so(rest: Rest, driftstack: Command) -> None:
    done = driftstack("session", "list")
    assert (done.code, done.out) == (0, "")
    assert "No sessions" in done.err
    assert driftstack("session", "list", "-o", "json").json()["data"] == []


def test_navigate_and_capture(rest: Rest, driftstack: Command, tmp_path: Path) -> None:
    session = ready(driftstack)
    moved = driftstack("session", "navigate", session, "http://a.test/")
    assert (moved.code, moved.out) == (0, "200 https://a.test/\n")
    file = tmp_path / "page.png"
    assert driftstack("session", "capture", session, str(file)).out == f"{file}\n"
    assert file.read_bytes() == PNG
    file.write_bytes(b"mine")
    assert driftstack("session", "capture", session, str(file)).code == 7
    assert file.read_bytes() == b"mine"
    assert driftstack("session", "capture", session, str(file), "--force").code == 0
    assert file.read_bytes() == PNG
    told = driftstack("session", "capture", session, str(tmp_path / "x.pdf"), "-o", "json").json()
    assert (told["kind"], told["byte_size"], "data" in told) == ("pdf", len(PNG), False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.png", "x.pdf"]


def test_wait_until_the_end_which_is_a_record(rest: Rest, driftstack: Command) -> None:
    session = ready(driftstack)
    assert driftstack("session", "wait", session).code == 0
    assert driftstack("session", "wait", session, "--for", "ended", "--timeout", "1s").code == 6
    assert driftstack("session", "delete", session).code == 0
    assert driftstack("session", "wait", session, "--for", "ended", "-o", "json").json()["status"] == "destroyed"
    assert driftstack("session", "wait", session).code == 7
    assert driftstack("session", "navigate", session, "http://a.test/").code == 7


def test_an_errored_session_ends_a_wait(rest: Rest, driftstack: Command) -> None:
    rest.world.operator.start = False
    session = driftstack("session", "create").out.strip()
    name = rest.background.call(rest.world.session, session)["metadata"]["name"]
    rest.background.call(rest.world.operator.end, "acct-acme", name, "errored", "Unschedulable")
    done = driftstack("session", "wait", session)
    assert done.code == 1
    assert "kubectl describe bsr" in done.err


def test_a_create_that_does_not_become_ready_names_the_session(rest: Rest, driftstack: Command) -> None:
    rest.world.operator.start = False
    done = driftstack("session", "create", "--wait", "--timeout", "1s")
    assert (done.code, done.out) == (6, "")
    assert "ses_" in done.err
    assert "creating" in done.err


def test_delete_many_and_again(rest: Rest, driftstack: Command) -> None:
    made = [ready(driftstack) for _ in range(2)]
    assert driftstack("session", "delete", *made, "-o", "json").json() == {"deleted": made}
    assert driftstack("session", "delete", *made).code == 0


def test_limit(rest: Rest, driftstack: Command) -> None:
    for _ in range(3):
        ready(driftstack)
    done = driftstack("session", "create")
    assert done.code == 5
    assert "driftstack session delete" in done.err
    assert "Try again in" in done.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["show", UNKNOWN], 3, "Not found"),
        (["show", "../whoami"], 3, "Not found"),
        (["delete", UNKNOWN], 3, "Not found"),
        (["create", "--label", "x" * 121], 2, "label"),
        (["create", "--archetype", "no_such_device"], 2, "archetype"),
        (["create", "--metadata", "nothing"], 2, "name=value"),
        (["create", "--behavioral-profile", "fast"], 2, "fast"),
        (["list", "--limit", "0"], 2, "--limit"),
        (["list", "--cursor", "garbage"], 2, "cursor"),
        (["navigate", UNKNOWN, "ftp://a.test"], 2, "url"),
        (["capture", UNKNOWN, "/no/such/folder/x.png"], 2, "/no/such/folder"),
        (["capture", UNKNOWN, "/tmp"], 2, "folder"),
        (["wait", UNKNOWN, "--timeout", "5"], 2, "no span of time"),
        (["delete"], 2, "ID"),
    ],
)
def test_errors_say_what_to_do(rest: Rest, driftstack: Command, words: list[str], code: int, told: str) -> None:
    done = driftstack("session", *words)
    assert (done.code, done.out) == (code, "")
    assert told in done.err


@pytest.mark.parametrize(
    ("name", "value", "code", "told"),
    [
        ("DRIFTSTACK_URL", "", 2, "export DRIFTSTACK_URL"),
        ("DRIFTSTACK_URL", "facade:8000", 2, "no http"),
        ("DRIFTSTACK_URL", "http://127.0.0.1:1", 8, "nothing answers"),
        ("DRIFTSTACK_API_KEY", "", 4, "driftstack key create"),
        ("DRIFTSTACK_API_KEY", "ds_live_wrong", 4, "Invalid API key"),
        ("DRIFTSTACK_API_KEY", "two words", 4, "no key has"),
        ("DRIFTSTACK_API_KEY", "schlüssel", 4, "no key has"),
    ],
)
def test_settings(
    rest: Rest, driftstack: Command, monkeypatch: pytest.MonkeyPatch, name: str, value: str, code: int, told: str
) -> None:
    monkeypatch.setenv(name, value)
    done = driftstack("session", "list")
    assert (done.code, done.out) == (code, "")
    assert told in done.err


def test_scopes_and_suspension(rest: Rest, driftstack: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    key = rest.background.call(rest.world.add_key, "acme", "reader", ["read:sessions"])
    monkeypatch.setenv("DRIFTSTACK_API_KEY", key.plaintext)
    assert "No sessions" in _retried(driftstack).err
    done = driftstack("session", "create")
    assert done.code == 4
    assert "write:sessions" in done.err
    assert key.plaintext not in json.dumps(done)


def _retried(driftstack: Command) -> Done:
    """List once the facade's watch has brought the key."""
    deadline = time.monotonic() + 20
    while (done := driftstack("session", "list")).code == 4 and time.monotonic() < deadline:
        pass
    return done
