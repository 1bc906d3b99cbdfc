from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog
import uvloop

from tests.integration.api.door import Door, opened
from tests.integration.api.world import Facade, World, facade, surroundings


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the facade runs on in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True, scope="package")
def plain_logs() -> None:
    """Log lines without colours and pretty traces, which take seconds."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with surroundings() as made:
        yield made


@pytest.fixture
async def api(world: World) -> AsyncIterator[Facade]:
    async with facade(world) as made:
        yield made


@pytest.fixture
async def door(world: World) -> AsyncIterator[Door]:
    async with opened(world) as made:
        yield made


@pytest.fixture
async def session(door: Door) -> dict[str, Any]:
    return await door.ready()
