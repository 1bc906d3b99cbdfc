"""The published description is true: requests generated from it, right and wrong, get only what it declares."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from driftstack_api.main import create_app
from driftstack_api.settings import Settings
from tests.integration.api.test_client import served
from tests.integration.api.world import application, surroundings

schema = schemathesis.openapi.from_dict(create_app(Settings()).openapi())


class Served:
    """The facade in a thread of its own, since schemathesis calls synchronously."""

    def __init__(self) -> None:
        self.url = ""
        self.key = ""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._thread.start()
        assert self._started.wait(10)

    def stop(self) -> None:
        """Stop, and wait until all is closed."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            world = await stack.enter_async_context(surroundings())
            world.add_account("acme", limit=1000)
            self.key = world.keys["acme"].plaintext
            app = await stack.enter_async_context(application(world))
            self.url = await stack.enter_async_context(served(app))
            self._started.set()
            await self._stop.wait()


@pytest.fixture(scope="module")
def facade() -> Iterator[Served]:
    running = Served()
    running.start()
    yield running
    running.stop()


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_generated_requests(case: schemathesis.Case[Any], facade: Served) -> None:
    # A schema can't say which cursors a list has given, which hosts a URL can have, or how large metadata is in
    # all: what fits the schema may still be a 400.
    case.call_and_validate(
        base_url=facade.url,
        headers={"Authorization": f"Bearer {facade.key}"},
        excluded_checks=[positive_data_acceptance],
    )
