"""Leads again and again: waits for the lease, works while it holds, and stops at once when it is lost.

A lost lease does not end the process: a control plane that comes and goes would make the kubelet wait ever longer
before it starts it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from driftstack_common.logging import get_logger
from driftstack_operator.leadership.elector import Elector

IN_HAND_SECONDS: Final = 0.4
"""Time for what is in hand when the operator is told to stop; what takes longer is left to the next one."""

logger = get_logger(__name__)


class Office(Protocol):
    """What a leader does."""

    def begin(self) -> None:
        """A term begins: nothing is known of what an earlier one had in mind."""

    async def work(self) -> None:
        """Work until cancelled, or until `close` and all that is in hand is done."""

    async def close(self) -> None:
        """Begin nothing new."""

    async def end(self) -> None:
        """The term is over, whatever was in hand."""


class Terms:
    """Holds the office while the elector has the lease.

    Args:
        elector: takes and keeps it.
        office: the work.
    """

    def __init__(self, elector: Elector, office: Office) -> None:
        self._elector = elector
        self._office = office

    async def run(self, stop: asyncio.Event) -> None:
        """Lead whenever possible until told to stop.

        Raises:
            Exception: the office's own; the lease is given back before.
        """
        while await _done_before(stop, self._elector.acquire()):
            await self._term(stop)
        await self._elector.withdraw()  # told to stop in the moment of taking it

    async def _term(self, stop: asyncio.Event) -> None:
        self._office.begin()
        holding = asyncio.create_task(self._elector.hold(), name="lease")
        work = asyncio.create_task(self._office.work(), name="work")
        stopping = asyncio.create_task(stop.wait())
        tasks = (holding, work, stopping)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not holding.done():
                await self._office.close()
                await asyncio.wait([work], timeout=IN_HAND_SECONDS)
        finally:
            lost = holding.done()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._office.end()
        if lost and not holding.cancelled():
            logger.warning("leading no more", identity=self._elector.identity, why=holding.result())
        else:
            await self._elector.release()
        if not work.cancelled():
            work.result()


async def _done_before(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do it unless told to stop first; return whether it was done."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return task.done()
    finally:
        for each in (task, stopping):
            each.cancel()
        await asyncio.wait((task, stopping))
