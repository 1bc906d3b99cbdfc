"""The members of an account get role bindings, and lose them."""

from __future__ import annotations

from typing import Any

import pytest

from driftstack_common.kinds import Account
from driftstack_common.kube.client import BINDING, QUOTA
from driftstack_common.kube.errors import Invalid
from tests.unit.operator.builders import ACCOUNT, NAMESPACE, Body
from tests.unit.operator.rig import Rig

ALICE: Body = {"kind": "User", "name": "alice", "role": "user"}
BOB: Body = {"kind": "User", "name": "bob", "role": "user"}
TEAM: Body = {"kind": "Group", "name": "team", "role": "viewer"}
ROBOT: Body = {"kind": "ServiceAccount", "name": "robot", "namespace": "ci", "role": "admin"}


@pytest.fixture
async def rig() -> Rig:
    rig = Rig(webhooks=False)  # the bindings of our own components are for webhooks
    await rig.prime()
    await rig.settle()
    return rig


async def set_members(rig: Rig, *members: Body) -> None:
    rig.kube.objects[(Account.KIND.plural, "", ACCOUNT)]["spec"]["members"] = list(members)
    rig.kube.change(Account.KIND, None, ACCOUNT)
    await rig.settle()


def bindings(rig: Rig) -> dict[str, Body]:
    return {body["metadata"]["name"]: body for body in rig.kube.all(BINDING)}


def names(rig: Rig) -> dict[str, list[str]]:
    return {name: [subject["name"] for subject in body["subjects"]] for name, body in bindings(rig).items()}


async def test_whole_bindings(rig: Rig) -> None:
    await set_members(rig, BOB, ALICE, TEAM, ROBOT, ALICE)
    group = "rbac.authorization.k8s.io"
    found = bindings(rig)
    assert [body["subjects"] for _, body in sorted(found.items())] == [
        [{"kind": "ServiceAccount", "name": "robot", "namespace": "ci"}],
        [{"apiGroup": group, "kind": "User", "name": name} for name in ("alice", "bob")],
        [{"apiGroup": group, "kind": "Group", "name": "team"}],
    ]
    for name, body in found.items():
        assert body["roleRef"] == {"apiGroup": group, "kind": "ClusterRole", "name": name}
        assert body["metadata"]["namespace"] == NAMESPACE
        assert body["metadata"]["labels"] == {
            "driftstack.dev/account": ACCOUNT,
            "app.kubernetes.io/part-of": "driftstack",
        }
    assert sorted(found) == ["driftstack-account-admin", "driftstack-account-user", "driftstack-account-viewer"]


async def test_bindings_follow_the_members_and_are_not_written_again(rig: Rig) -> None:
    await set_members(rig, ALICE, TEAM)
    await set_members(rig, BOB, TEAM)
    assert names(rig) == {"driftstack-account-user": ["bob"], "driftstack-account-viewer": ["team"]}
    rig.kube.calls.clear()
    rig.operator.touch_account(ACCOUNT)
    await rig.settle()
    assert rig.kube.calls == []
    await set_members(rig)
    assert names(rig) == {}


@pytest.mark.parametrize(
    "drift",
    [
        {"subjects": [{"kind": "User", "name": "mallory"}]},
        {"subjects": []},
        {"roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}},
        {"roleRef": {"kind": "Role", "name": "driftstack-account-user"}},
    ],
)
async def test_drift_is_healed(rig: Rig, drift: Any) -> None:
    await set_members(rig, ALICE)
    before = bindings(rig)["driftstack-account-user"]
    before.update(drift)
    rig.kube.change(BINDING, NAMESPACE, "driftstack-account-user")
    await rig.settle()
    (after,) = bindings(rig).values()
    assert after["roleRef"]["name"] == "driftstack-account-user"
    assert after["roleRef"]["kind"] == "ClusterRole"
    assert names(rig) == {"driftstack-account-user": ["alice"]}


async def test_binding_that_is_deleted_comes_back(rig: Rig) -> None:
    await set_members(rig, ALICE)
    rig.kube.vanish(BINDING, NAMESPACE, "driftstack-account-user")
    await rig.settle()
    assert names(rig) == {"driftstack-account-user": ["alice"]}


async def test_members_that_changed_while_no_operator_ran(rig: Rig) -> None:
    await set_members(rig, ALICE)
    rig.wire = lambda deliver, *message: None
    await set_members(rig, TEAM)
    assert names(rig) == {"driftstack-account-user": ["alice"]}
    await rig.restart()
    await rig.settle()
    assert names(rig) == {"driftstack-account-viewer": ["team"]}


async def test_rights_of_who_left_go_although_another_binding_can_not_be_made(rig: Rig) -> None:
    await set_members(rig, ALICE)
    for _ in range(9):
        rig.kube.fail("apply", BINDING.plural, Invalid("refused", status=422))
    await set_members(rig, TEAM)
    assert names(rig) == {}


async def test_a_binding_that_can_not_be_made_holds_no_cap_up(rig: Rig) -> None:
    for _ in range(9):
        rig.kube.fail("apply", BINDING.plural, Invalid("refused", status=422))
    rig.kube.objects[(Account.KIND.plural, "", ACCOUNT)]["spec"]["overrides"] = {"concurrentSessions": 7}
    await set_members(rig, ALICE)
    (quota,) = rig.kube.all(QUOTA)
    assert quota["spec"]["hard"]["count/browsersessions.driftstack.dev"] == "7"


async def test_a_binding_whose_label_was_taken_away_is_known_again_at_once(rig: Rig) -> None:
    await set_members(rig, ALICE)
    uid = bindings(rig)["driftstack-account-user"]["metadata"]["uid"]
    rig.operator.store.bindings.remove(uid)  # as a watch by labels tells of it
    rig.operator.touch_account(ACCOUNT)
    await rig.settle()
    assert rig.operator.store.bindings.by_uid(uid) is not None
    await set_members(rig)
    assert names(rig) == {}


async def test_components_have_their_roles_in_each_namespace() -> None:
    rig = Rig()
    await rig.prime()
    await rig.settle()
    subjects = {name: body["subjects"] for name, body in bindings(rig).items()}
    assert subjects == {
        f"driftstack-account-{component}": [
            {"kind": "ServiceAccount", "name": f"driftstack-{component}", "namespace": "driftstack-system"}
        ]
        for component in ("dispatcher", "facade")
    }
    await set_members(rig, ALICE)
    assert len(bindings(rig)) == 3
