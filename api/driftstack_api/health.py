"""Probes for the kubelet: alive, and able to answer."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from driftstack_api.openapi import problem_response
from driftstack_api.problems import unavailable
from driftstack_api.services import services

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """A probe that succeeds."""

    status: Literal["ok"] = Field(default="ok", examples=["ok"])


@router.get("/healthz", summary="Is the process alive")
async def healthz() -> Health:
    """Answers as long as the process can answer anything."""
    return Health()


@router.get("/readyz", summary="Can it serve", responses=problem_response("feature-unavailable"))
async def readyz(request: Request) -> Health:
    """Answers 200 when every cache is complete and its watch has proven itself lately."""
    caches = services(request).caches
    if not caches.synced:
        raise unavailable("The caches are being filled.")
    stale = list(caches.stale())
    if stale:
        raise unavailable(f"The watch is silent for: {', '.join(stale)}.")
    return Health()
