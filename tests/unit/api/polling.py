"""Waiting in tests: until something is true, or a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(predicate: Callable[[], object], seconds: float = 5.0) -> None:
    """Return once the predicate holds; fail when it doesn't within this time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not predicate():
        assert asyncio.get_running_loop().time() < deadline, f"still not true after {seconds} s"
        await asyncio.sleep(0.001)
