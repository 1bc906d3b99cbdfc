"""Failpoints of the facade: armed over HTTP in tests, absent otherwise."""

from __future__ import annotations

from driftstack_common.failpoints import Failpoints
from tests.integration.api.world import Facade, World, facade


async def test_points_are_armed_refused_and_no_part_of_the_api(world: World) -> None:
    async with facade(world, Failpoints()) as running:
        armed = await running.call("PUT", "/failpoints/after-step", key=None, json={"skip": 1})
        refused = await running.call("PUT", "/failpoints/step", key=None)
    assert (armed.status_code, armed.json()["armed"]) == (200, ["after-step"])
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")
    assert not [path for path in running.app.openapi()["paths"] if "failpoints" in path]


async def test_a_step_passes_a_point_before_and_after(world: World) -> None:
    points = Failpoints()
    async with facade(world, points) as running:
        session = await running.ready()
        step = await running.call("POST", f"/v1/sessions/{session['id']}/navigate", json={"url": "https://a.test/"})
    assert step.status_code == 200
    assert points.tell()["reached"] == {"before-step": 1, "after-step": 1}


async def test_outside_tests_there_are_none(api: Facade) -> None:
    answer = await api.call("GET", "/failpoints")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert (await api.call("PUT", "/failpoints/before-step")).status_code == 404
