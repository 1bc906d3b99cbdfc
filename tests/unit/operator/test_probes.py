"""What the probe port answers beside the probes: failpoints, in tests alone."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from driftstack_common.failpoints import Failpoints
from driftstack_operator.health import Health
from driftstack_operator.metrics import Metrics
from driftstack_operator.probes import Probes
from driftstack_operator.settings import load_settings


def client(failpoints: Failpoints | None) -> TestClient[Any, Any]:
    probes, _ = Probes(Health(), Metrics(), load_settings(), failpoints).applications()
    return TestClient(TestServer(probes))


async def test_points_are_armed_and_shown() -> None:
    points = Failpoints()
    async with client(points) as http:
        body = {"effect": "freeze", "skip": 2}
        assert (await http.put("/failpoints/before-patch-browsersessions-status", json=body)).status == 200
        points.reach("before-patch-browsersessions-status")
        assert await (await http.get("/failpoints")).json() == {
            "reached": {"before-patch-browsersessions-status": 1},
            "armed": ["before-patch-browsersessions-status"],
        }


@pytest.mark.parametrize(
    ("name", "body"), [("create-pods", b"{}"), ("before-claim", b'{"effect":"maim"}'), ("before-claim", b"kill")]
)
async def test_what_means_nothing_is_refused(name: str, body: bytes) -> None:
    points = Failpoints()
    async with client(points) as http:
        assert (await http.put(f"/failpoints/{name}", data=body)).status == 400
    assert points.tell()["armed"] == []


async def test_outside_tests_there_are_none() -> None:
    async with client(None) as http:
        assert (await http.get("/failpoints")).status == 404
        assert (await http.put("/failpoints/before-claim")).status == 404
