"""Keys carry their id, and when they were revoked."""

from __future__ import annotations

from typing import Any

import pytest

from driftstack_common.kinds import ApiKey
from driftstack_common.kube.errors import NotFound
from tests.unit.operator.builders import NAMESPACE, Body
from tests.unit.operator.rig import Rig


@pytest.fixture
async def rig() -> Rig:
    rig = Rig()
    await rig.prime()
    await rig.settle()
    return rig


def put(rig: Rig, annotations: Body | None = None, **spec: Any) -> None:
    meta = {"name": "ci", "namespace": NAMESPACE, "annotations": annotations or {}}
    good = {"name": "ci", "scopes": ["read"], "sha256": "0" * 64}
    rig.kube.put(ApiKey.KIND, {"metadata": meta, "spec": {**good, **spec}})


def key(rig: Rig) -> Body:
    return rig.kube.objects[(ApiKey.KIND.plural, NAMESPACE, "ci")]


async def test_new_key_gets_its_id_in_one_write(rig: Rig) -> None:
    put(rig)
    await rig.settle()
    assert key(rig)["metadata"]["annotations"] == {"driftstack.dev/id": f"key_{key(rig)['metadata']['uid']}"}
    assert "revokedAt" not in key(rig)["spec"]
    assert rig.writes(ApiKey.KIND) == [("patch", "apikeys")]


async def test_restored_key_keeps_its_id(rig: Rig) -> None:
    put(rig, {"driftstack.dev/id": "key_1"})
    await rig.settle()
    assert rig.writes(ApiKey.KIND) == []


async def test_revocation_is_dated_once(rig: Rig) -> None:
    put(rig, {"driftstack.dev/id": "key_1"}, revoked=True)
    await rig.settle()
    assert key(rig)["spec"]["revokedAt"].endswith("Z")
    rig.kube.change(ApiKey.KIND, NAMESPACE, "ci")
    await rig.settle()
    assert rig.writes(ApiKey.KIND) == [("patch", "apikeys")]


async def test_keys_from_before_are_completed_at_the_start(rig: Rig) -> None:
    rig.wire = lambda deliver, *message: None
    put(rig)
    await rig.settle()
    assert rig.writes(ApiKey.KIND) == []
    await rig.restart()
    await rig.settle()
    assert rig.writes(ApiKey.KIND) == [("patch", "apikeys")]


async def test_key_that_goes_meanwhile_is_left_alone(rig: Rig) -> None:
    rig.kube.fail("patch", ApiKey.KIND.plural, NotFound("gone", status=404))
    put(rig)
    await rig.settle()
    rig.kube.vanish(ApiKey.KIND, NAMESPACE, "ci")
    await rig.settle()
    assert rig.operator.store.keys.get(NAMESPACE, "ci") is None
