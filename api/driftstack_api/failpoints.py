"""Arms failpoints, for tests of what a crash leaves behind; no part of the API, and absent without its setting."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from driftstack_api.problems import Problem
from driftstack_common.failpoints import Arm, Failpoints


def router_of(points: Failpoints) -> APIRouter:
    """Return the routes of this process's points."""
    router = APIRouter(include_in_schema=False)

    @router.get("/failpoints")
    async def show() -> dict[str, Any]:
        return points.tell()

    @router.put("/failpoints/{name:path}")
    async def arm(name: str, request: Request) -> dict[str, Any]:
        try:
            points.arm(name, Arm.parse(await request.body()))
        except ValueError as error:
            raise Problem("bad-request", str(error)) from error
        return points.tell()

    return router
