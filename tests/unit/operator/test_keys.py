"""Keys carry their id, and when they were revoked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from driftstack_common.kinds import ApiKey
from driftstack_common.kube.errors import NotFound
from tests.unit.api.polling import until
from tests.unit.operator.builders import NAMESPACE, Body
from tests.unit.operator.rig import Rig


@pytest.fixture
async def rig() -> Rig:
    rig = Rig()
    await rig.prime()
    await rig.settle()
    return rig


@contextlib.asynccontextmanager
async def watching(rig: Rig) -> AsyncIterator[None]:
    """The operator's part that watches keys runs until it has seen those that are there."""
    task = asyncio.create_task(rig.operator.keys.run())
    await until(lambda: rig.operator.keys._reflector.synced)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def put(rig: Rig, annotations: Body | None = None, **spec: Any) -> None:
    meta = {"name": "ci", "namespace": NAMESPACE, "annotations": annotations or {}}
    good = {"name": "ci", "scopes": ["read"], "sha256": "0" * 64}
    rig.kube.put(ApiKey.KIND, {"metadata": meta, "spec": {**good, **spec}})


def key(rig: Rig) -> Body:
    return rig.kube.objects[(ApiKey.KIND.plural, NAMESPACE, "ci")]


@pytest.mark.parametrize("annotations", [{}, {"driftstack.dev/id": ""}])
async def test_new_key_gets_its_id_in_one_write(rig: Rig, annotations: Body) -> None:
    put(rig, annotations)
    async with watching(rig):
        await rig.settle()
    assert key(rig)["metadata"]["annotations"] == {"driftstack.dev/id": f"key_{key(rig)['metadata']['uid']}"}
    assert "revokedAt" not in key(rig)["spec"]
    assert rig.writes(ApiKey.KIND) == [("patch", "apikeys")]


@pytest.mark.parametrize("spec", [{}, {"revoked": True, "revokedAt": "2026-05-12T12:00:00Z"}])
async def test_restored_key_keeps_its_id(rig: Rig, spec: Body) -> None:
    told = {"driftstack.dev/revocation-told": "event"} if spec else {}
    put(rig, {"driftstack.dev/id": "key_1", **told}, **spec)
    async with watching(rig):
        await rig.settle()
    assert rig.writes(ApiKey.KIND) == []


async def test_revocation_that_nobody_is_told_of_is_marked_all_the_same(rig: Rig) -> None:
    put(rig, {"driftstack.dev/id": "key_1"}, revoked=True, revokedAt="2026-05-12T12:00:00Z")
    async with watching(rig):
        await rig.settle()
    assert set(key(rig)["metadata"]["annotations"]) == {"driftstack.dev/id", "driftstack.dev/revocation-told"}
    assert rig.writes(ApiKey.KIND) == [("patch", "apikeys")]


async def test_revocation_is_dated(rig: Rig) -> None:
    put(rig, {"driftstack.dev/id": "key_1"}, revoked=True)
    async with watching(rig):
        await rig.settle()
    assert key(rig)["spec"]["revokedAt"].endswith("Z")
    assert key(rig)["metadata"]["annotations"] == {"driftstack.dev/id": "key_1"}
    assert rig.writes(ApiKey.KIND) == [("patch", "apikeys")]


async def test_next_leader_completes_what_the_last_one_saw(rig: Rig) -> None:
    put(rig)
    async with watching(rig):
        rig.operator.queue.close()
    assert rig.writes(ApiKey.KIND) == []
    rig.operator.begin()
    async with watching(rig):
        await rig.settle()
    assert rig.writes(ApiKey.KIND) == [("patch", "apikeys")]


async def test_key_that_goes_meanwhile_is_left_alone(rig: Rig) -> None:
    rig.kube.fail("patch", ApiKey.KIND.plural, NotFound("gone", status=404))
    put(rig)
    async with watching(rig):
        await rig.settle()
    assert rig.writes(ApiKey.KIND) == [("patch", "apikeys")]
