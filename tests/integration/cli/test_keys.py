"""Keys: shown once on stdout alone, stored as a hash, replaced without a gap."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
import yaml

from driftstack_common.api_keys import digest
from driftstack_common.times import format_time, now, parse_time
from tests.integration.cli.conftest import Cluster, Command, config

SPEC = {"name": "old", "scopes": ["read"], "sha256": "0" * 64, "keyPrefix": "ds_live_0000"}


def put(cluster: Cluster, name: str, **spec: object) -> dict[str, object]:
    body = {"metadata": {"name": name, "namespace": "acct-acme"}, "spec": {**SPEC, **spec}}
    return cluster.put("apikeys", body)


def test_the_key_is_all_of_stdout_and_its_hash_all_that_is_stored(cluster: Cluster, driftstack: Command) -> None:
    done = driftstack("key", "create", "-a", "acme", "--name", "CI pipeline", "--expires", "30d")
    assert done.code == 0, done.err
    plaintext = done.out.removesuffix("\n")
    assert plaintext.startswith("ds_live_")
    assert "\n" not in plaintext
    assert plaintext not in done.err
    (stored,) = cluster.of("apikeys")
    assert stored["metadata"]["name"].startswith("ci-pipeline-")
    spec = stored["spec"]
    assert (spec["name"], spec["scopes"], spec["sha256"]) == ("CI pipeline", ["read", "write"], digest(plaintext))
    assert plaintext not in str(stored)
    assert abs(parse_time(spec["expiresAt"]) - now() - timedelta(days=30)) < timedelta(minutes=5)


def test_json_has_key_and_object(cluster: Cluster, driftstack: Command) -> None:
    done = driftstack("key", "create", "-a", "acme", "--scope", "read:sessions", "--scope", "write", "-o", "json")
    shown = done.json()
    assert shown["plaintext"].startswith("ds_live_")
    assert shown["key"]["kind"] == "ApiKey"
    assert shown["key"]["spec"]["scopes"] == ["read:sessions", "write"]


def test_the_context_names_the_account(cluster: Cluster, driftstack: Command) -> None:
    put(cluster, "old")
    assert driftstack("key", "list").code == 2
    cluster.kubeconfig.write_text(yaml.safe_dump(config(cluster.server.url, namespace="acct-acme")))
    assert "old" in driftstack("key", "list").out
    cluster.kubeconfig.write_text(yaml.safe_dump(config(cluster.server.url, namespace="default")))
    done = driftstack("key", "list")
    assert (done.code, "--account" in done.err) == (2, True)


def test_list(cluster: Cluster, driftstack: Command) -> None:
    past = format_time(now() - timedelta(days=1))
    put(cluster, "works")
    put(cluster, "over", expiresAt=past)
    put(cluster, "gone", revoked=True)
    lines = {line.split()[0]: line for line in driftstack("key", "list", "-A").out.splitlines()}
    assert "active" in lines["works"]
    assert "expired" in lines["over"]
    assert "revoked" in lines["gone"]
    assert len(driftstack("key", "list", "-a", "acme", "-o", "json").json()["items"]) == 3


def test_rotate(cluster: Cluster, driftstack: Command) -> None:
    put(cluster, "old")
    done = driftstack("key", "rotate", "old", "-a", "acme")
    assert done.code == 0, done.err
    old = cluster.object("apikeys", "acct-acme", "old")["spec"]
    (new,) = [body for body in cluster.of("apikeys") if body["metadata"]["name"] != "old"]
    assert new["spec"]["sha256"] == digest(done.out.strip())
    assert (new["spec"]["name"], new["spec"]["scopes"]) == ("old", ["read"])
    assert old["replacedBy"] == new["metadata"]["name"]
    assert abs(parse_time(old["expiresAt"]) - now() - timedelta(hours=24)) < timedelta(minutes=5)


def test_rotating_never_lengthens_a_key(cluster: Cluster, driftstack: Command) -> None:
    soon: datetime = now() + timedelta(hours=1)
    put(cluster, "old", expiresAt=format_time(soon))
    driftstack("key", "rotate", "old", "-a", "acme")
    assert cluster.object("apikeys", "acct-acme", "old")["spec"]["expiresAt"] == format_time(soon)


def test_a_new_key_is_shown_even_if_the_old_one_stays(cluster: Cluster, driftstack: Command) -> None:
    put(cluster, "old")
    cluster.server.refusals["PATCH"] = (403, "no")
    done = driftstack("key", "rotate", "old", "-a", "acme")
    assert done.code == 4
    assert done.out.startswith("ds_live_")
    assert "driftstack key revoke old" in done.err


def test_revoke_by_name_and_by_id(cluster: Cluster, driftstack: Command) -> None:
    put(cluster, "old")
    uid = put(cluster, "other")["metadata"]["uid"]  # type: ignore[index]
    assert driftstack("key", "revoke", "old", "-a", "acme").out == "key old revoked\n"
    assert driftstack("key", "revoke", f"key_{uid}", "-a", "acme").code == 0
    for body in cluster.of("apikeys"):
        assert body["spec"]["revoked"] is True
        assert parse_time(body["spec"]["revokedAt"])
    before = cluster.object("apikeys", "acct-acme", "old")
    assert driftstack("key", "revoke", "old", "-a", "acme").code == 0
    assert cluster.object("apikeys", "acct-acme", "old") is before


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["create"], 2, "--account"),
        (["create", "-a", "nobody"], 3, "no account nobody"),
        (["create", "-a", "acme", "--scope", "everything"], 2, "everything"),
        (["create", "-a", "acme", "--expires", "yesterday"], 2, "is no time"),
        (["create", "-a", "acme", "--expires", "2020-01-01"], 2, "in the past"),
        (["revoke", "nothing", "-a", "acme"], 3, "no key nothing"),
        (["revoke", "key_nothing", "-a", "acme"], 3, "no key key_nothing"),
        (["revoke", "", "-a", "acme"], 2, "the name of nothing"),
        (["revoke", "../x", "-a", "acme"], 2, "the name of nothing"),
        (["rotate", "dead", "-a", "acme"], 7, "revoked"),
        (["rotate", "rotated", "-a", "acme"], 7, "successor replaces it"),
    ],
)
def test_errors_say_what_to_do(
    cluster: Cluster, driftstack: Command, words: list[str], code: int, told: str
) -> None:
    put(cluster, "dead", revoked=True)
    put(cluster, "rotated", replacedBy="successor")
    done = driftstack("key", *words)
    assert (done.code, done.out) == (code, "")
    assert told in done.err
