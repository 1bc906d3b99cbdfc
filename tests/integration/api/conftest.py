from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import structlog

from tests.integration.api.world import Facade, World, facade, surroundings


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
