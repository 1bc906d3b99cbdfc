"""Accounts, through the real client, against an API server in memory."""

from __future__ import annotations

import json
import threading

import pytest
import yaml

from driftstack_common.kube.client import Body
from tests.integration.cli.conftest import Cluster, Command, account
from tests.unit.api.polling import until


def test_create_waits_until_ready(cluster: Cluster, driftstack: Command) -> None:
    def operator(created: Body) -> None:
        status = account("team")["status"]
        cluster.server.kube.put(
            "accounts", {**created, "metadata": {**created["metadata"], "generation": 1}} | {"status": status}
        )

    cluster.server.kube.after_create = operator
    done = driftstack(
        "account", "create", "team", "--tier", "team_manual", "--cap", "6", "--max-duration", "1h",
        "--overrides-expire", "30d", "--wait", "-o", "json",
    )  # fmt: skip
    assert done.code == 0, done.err
    shown = done.json()
    assert (shown["kind"], shown["metadata"]["name"], shown["status"]["limit"]) == ("Account", "team", 2)
    assert "managedFields" not in shown["metadata"]
    spec = cluster.object("accounts", "", "team")["spec"]
    assert spec["tier"] == "team_manual"
    assert spec["overrides"].pop("expiresAt").endswith("Z")
    assert spec["overrides"] == {"concurrentSessions": 6, "maxDurationSeconds": 3600}


def test_waiting_says_what_is_missing_and_ends(cluster: Cluster, driftstack: Command) -> None:
    done = driftstack("account", "create", "slow", "--wait", "--timeout", "1s")
    assert done.code == 6
    assert "not ready after 1 s" in done.err
    assert "the operator has not seen it yet" in done.err


def test_waiting_outlasts_a_broken_connection(cluster: Cluster, driftstack: Command) -> None:
    def operator(created: Body) -> None:
        metadata = {**created["metadata"], "generation": 1}
        cluster.server.kube.put("accounts", {**account("team"), **created, "metadata": metadata})
        cluster.server.resets = 2

    cluster.server.kube.after_create = operator
    done = driftstack("account", "create", "team", "--wait")
    assert (done.code, cluster.server.resets) == (0, 0), done.err


def test_what_no_waiting_helps_with_ends_at_once(cluster: Cluster, driftstack: Command) -> None:
    def operator(created: Body) -> None:
        status = account("x", ready=False, reason="NamespaceTaken", message="belongs to somebody else")["status"]
        cluster.server.kube.put("accounts", {**created, "status": status})

    cluster.server.kube.after_create = operator
    done = driftstack("account", "create", "taken", "--wait")
    assert done.code == 1
    assert "belongs to somebody else" in done.err


def test_list_and_show(cluster: Cluster, driftstack: Command) -> None:
    cluster.put("accounts", account("other", ready=False, reason="QuotaNotInForce", suspended=True))
    lines = driftstack("account", "list").out.splitlines()
    assert lines[0].split() == ["NAME", "TIER", "LIVE", "LIMIT", "READY", "SUSPENDED", "AGE", "REASON"]
    assert lines[1].split()[:6] == ["acme", "api_starter", "1", "2", "True", "no"]
    assert lines[2].split()[4:6] + lines[2].split()[7:] == ["False", "yes", "QuotaNotInForce"]
    listed = yaml.safe_load(driftstack("account", "list", "-o", "yaml").out)
    assert listed["kind"] == "List"
    assert [item["kind"] for item in listed["items"]] == ["Account", "Account"]
    assert "1 of 2" in driftstack("account", "show", "acme").out


def test_members_of_one_name_differ_by_their_namespaces(cluster: Cluster, driftstack: Command) -> None:
    members = [{"kind": "ServiceAccount", "name": "ci", "namespace": ns, "role": "user"} for ns in ("a", "b")]
    cluster.put("accounts", account("other", members=members))
    shown = driftstack("account", "show", "other").out
    assert "ServiceAccount a/ci" in shown
    assert "ServiceAccount b/ci" in shown


def test_no_time_at_all_is_not_taken_for_none_given(cluster: Cluster, driftstack: Command) -> None:
    driftstack("account", "create", "x", "--idle-timeout", "0s", "--max-duration", "0s")
    overrides = cluster.object("accounts", "", "x")["spec"]["overrides"]
    assert overrides == {"idleTimeoutSeconds": 0, "maxDurationSeconds": 0}


def test_suspend_and_resume(cluster: Cluster, driftstack: Command) -> None:
    assert driftstack("account", "suspend", "acme").out == "account acme suspended\n"
    assert cluster.object("accounts", "", "acme")["spec"]["suspended"] is True
    assert driftstack("account", "resume", "acme", "-o", "json").json()["spec"]["suspended"] is False


def test_delete_asks_and_waits(cluster: Cluster, driftstack: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = driftstack("account", "delete", "acme")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert cluster.object("accounts", "", "acme")
    assert driftstack("account", "delete", "acme", "--yes").code == 0
    assert not cluster.of("accounts")


@pytest.mark.parametrize(("answer", "code", "left"), [("n\n", 1, 1), ("y\n", 0, 0), ("", 1, 1)])
def test_the_answer_counts(
    cluster: Cluster,
    driftstack: Command,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    left: int,
) -> None:
    class Person:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return answer

    monkeypatch.setattr("sys.stdin", Person())
    assert driftstack("account", "delete", "acme").code == code
    assert len(cluster.of("accounts")) == left


def test_delete_says_what_holds_it_up(cluster: Cluster, driftstack: Command) -> None:
    held = account("held", ready=False, reason="Deleting", message="waits for its sessions to go: hello")
    held["metadata"]["finalizers"] = ["driftstack.dev/account"]
    cluster.put("accounts", held)
    done = driftstack("account", "delete", "held", "--yes", "--timeout", "1s")
    assert done.code == 6
    assert "waits for its sessions to go: hello" in done.err
    kube = cluster.server.kube

    async def let_go() -> None:
        await until(lambda: kube.calls.count(("delete", "accounts")) == 2)
        kube.remove("accounts", "", "held")

    leaving = threading.Thread(target=cluster.background.run, args=(let_go(),))
    leaving.start()
    assert driftstack("account", "delete", "held", "--yes").code == 0
    leaving.join()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["show", "nobody"], 3, "there is no account nobody"),
        (["suspend", "nobody"], 3, "there is no account nobody"),
        (["delete", "nobody", "--yes"], 3, "there is no account nobody"),
        (["create", "acme"], 7, "exists already"),
        (["create", "x", "--overrides-expire", "30d"], 2, "nothing that differs"),
        (["create", "x", "--tier", "gold"], 2, "gold"),
        (["create", "x", "--idle-timeout", "soon"], 2, "no span of time"),
        (["create", "x", "--cap", "-1"], 2, "--cap"),
        (["list", "--context", "elsewhere"], 4, "elsewhere"),
        (["list", "--context", "nowhere"], 8, "does not answer"),
        (["list", "--kubeconfig", "/no/such/file"], 4, "/no/such/file"),
        (["lsit"], 2, "lsit"),
    ],
)
def test_errors_say_what_to_do(
    cluster: Cluster, driftstack: Command, words: list[str], code: int, told: str
) -> None:
    done = driftstack("account", *words)
    assert (done.code, done.out) == (code, "")
    assert told in done.err


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [(401, 4, "does not know you"), (403, 4, "administrator"), (422, 2, "spec.tier"), (500, 1, "spec.tier")],
)
def test_refusals(cluster: Cluster, driftstack: Command, status: int, code: int, told: str) -> None:
    cluster.server.refusals["GET"] = (status, "accounts: no, spec.tier")
    done = driftstack("account", "list")
    assert done.code == code
    assert told in done.err


def test_without_driftstack_in_the_cluster(cluster: Cluster, driftstack: Command) -> None:
    cluster.server.missing = {"accounts", "apikeys"}
    for words in (
        ("account", "list"),
        ("account", "show", "acme"),
        ("account", "create", "x"),
        ("key", "create", "-a", "acme"),
        ("key", "revoke", "x", "-a", "acme"),
    ):
        done = driftstack(*words)
        assert done.code == 8, words
        assert "helm install" in done.err


def test_a_broken_kubeconfig(cluster: Cluster, driftstack: Command) -> None:
    cluster.kubeconfig.write_text("{")
    assert driftstack("account", "list").code == 4


def test_nothing_secret_is_told(cluster: Cluster, driftstack: Command) -> None:
    cluster.server.refusals["GET"] = (401, "Unauthorized")
    assert "secret" not in json.dumps(driftstack("account", "list"))
