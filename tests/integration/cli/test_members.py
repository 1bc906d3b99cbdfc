"""Members of accounts, through the real client, against an API server in memory."""

from __future__ import annotations

from typing import Any

import pytest

from driftstack_common.kube.errors import Conflict
from tests.integration.cli.conftest import Cluster, Command, account

ALICE = {"kind": "User", "name": "alice@example.com", "role": "user"}
ROBOT = {"kind": "ServiceAccount", "name": "deployer", "namespace": "ci", "role": "admin"}


def put(cluster: Cluster, *members: dict[str, str]) -> None:
    body = account("team")
    cluster.server.kube.put("accounts", {**body, "spec": {**body["spec"], "members": list(members)}})


def stored(cluster: Cluster) -> Any:
    return cluster.object("accounts", "", "team")["spec"].get("members")


def test_members_are_added_listed_and_removed(cluster: Cluster, driftstack: Command) -> None:
    put(cluster)
    assert driftstack("account", "members", "add", "team", "alice@example.com", "--role", "user").code == 0
    robot = ("ci/deployer", "--kind", "ServiceAccount", "--role", "admin")
    added = driftstack("account", "members", "add", "team", *robot, "-o", "json")
    assert added.json() == {"members": [ALICE, ROBOT]}
    assert stored(cluster) == [ALICE, ROBOT]
    shown = driftstack("account", "members", "list", "team")
    assert [line.split() for line in shown.out.splitlines()] == [
        ["KIND", "NAME", "ROLE"],
        ["User", "alice@example.com", "user"],
        ["ServiceAccount", "ci/deployer", "admin"],
    ]
    assert driftstack("account", "members", "remove", "team", "alice@example.com").code == 0
    assert stored(cluster) == [ROBOT]


def test_a_member_has_one_role(cluster: Cluster, driftstack: Command) -> None:
    put(cluster, ALICE, ROBOT)
    done = driftstack("account", "members", "add", "team", "alice@example.com", "--role", "admin")
    assert done.code == 0, done.err
    assert stored(cluster) == [ROBOT, {**ALICE, "role": "admin"}]


def test_who_is_a_member_already_is_no_write(cluster: Cluster, driftstack: Command) -> None:
    put(cluster, ALICE)
    before = cluster.object("accounts", "", "team")["metadata"]["resourceVersion"]
    assert driftstack("account", "members", "add", "team", "alice@example.com", "--role", "user").code == 0
    assert cluster.object("accounts", "", "team")["metadata"]["resourceVersion"] == before


def test_of_several_kinds_with_one_name_the_one_that_is_meant_goes(cluster: Cluster, driftstack: Command) -> None:
    group = {"kind": "Group", "name": "alice@example.com", "role": "viewer"}
    put(cluster, ALICE, group)
    assert driftstack("account", "members", "remove", "team", "alice@example.com", "--kind", "Group").code == 0
    assert stored(cluster) == [ALICE]


def test_who_is_no_member_can_not_be_removed(cluster: Cluster, driftstack: Command) -> None:
    put(cluster, ALICE)
    done = driftstack("account", "members", "remove", "team", "bob")
    assert done.code == 3
    assert "User bob is no member of team" in done.err
    assert "members list team" in done.err


@pytest.mark.parametrize("member", ["deployer", "/deployer", "ci/"])
def test_a_service_account_is_named_with_its_namespace(cluster: Cluster, driftstack: Command, member: str) -> None:
    put(cluster)
    done = driftstack("account", "members", "add", "team", member, "--kind", "ServiceAccount", "--role", "user")
    assert done.code == 2
    assert "ci/deployer" in done.err


def test_no_account_and_no_members(cluster: Cluster, driftstack: Command) -> None:
    assert driftstack("account", "members", "list", "none").code == 3
    put(cluster)
    done = driftstack("account", "members", "list", "team")
    assert (done.code, done.out) == (0, "")
    assert "members add" in done.err


def test_a_change_by_others_meanwhile_is_not_undone(
    cluster: Cluster, driftstack: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cluster, ALICE)
    patch = cluster.server._patch
    raced: list[Any] = []

    async def race(request: Any, *where: Any) -> Any:
        if not raced:
            raced.append(where)
            put(cluster, ALICE, ROBOT)
            raise Conflict("the object has been modified", status=409)
        return await patch(request, *where)

    monkeypatch.setattr(cluster.server, "_patch", race)
    assert driftstack("account", "members", "add", "team", "bob", "--role", "viewer").code == 0
    assert stored(cluster) == [ALICE, ROBOT, {"kind": "User", "name": "bob", "role": "viewer"}]
