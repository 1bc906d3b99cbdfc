"""Asynchronous surroundings for commands, which run an event loop of their own: another loop in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """A loop that runs beside the test."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def call(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Return what a function returns there: fakes are for one thread."""

        async def work() -> T:
            return function(*arguments, **named)

        return self.run(work())

    @contextmanager
    def entered(self, context: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Enter an asynchronous context there."""
        leave, entered = asyncio.Event(), asyncio.Event()
        found: list[T] = []

        async def stay() -> None:
            async with context as value:
                found.append(value)
                entered.set()
                await leave.wait()

        task = asyncio.run_coroutine_threadsafe(stay(), self._loop)

        async def arrive() -> None:
            await entered.wait()

        try:
            self.run(arrive())
            yield found[0]
        finally:
            self.call(leave.set)
            task.result(30)

    def close(self) -> None:
        """Stop the loop, and what still runs in it."""

        async def finish() -> None:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

        self.run(finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
