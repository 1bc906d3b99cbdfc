"""What the facade's reads are measured against: FastAPI with nothing in it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def nothing() -> dict[str, Any]:
    """Answer an empty object."""
    return {}
