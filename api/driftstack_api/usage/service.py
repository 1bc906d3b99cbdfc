"""What an account has used: what was summed up before records went, the records that are there, and live sessions.

Two copies that are not quite in step make no difference that lasts: a record is named in the sums before it goes.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import msgspec

from driftstack_api.agents import Agents
from driftstack_api.auth import Caller
from driftstack_api.caches import Caches
from driftstack_api.problems import Problem, unavailable
from driftstack_api.sessions.cache import Entry
from driftstack_api.usage.schemas import UsageBucket, UsageObject, UsageQuotas, UsageSeries, UsageTotals
from driftstack_common.agent_client import AgentError
from driftstack_common.kinds import DayUsage, Phase, Session, StepCounts
from driftstack_common.logging import get_logger
from driftstack_common.times import format_time, now
from driftstack_common.usage import KINDS, add, minutes_of, plausible, summed, usage_of, usage_of_record

ASK_SECONDS: Final = 2.0
"""Longest that a call waits for the agents of live sessions; what one doesn't say is counted when it ends."""
ASKED_AT_ONCE: Final = 64
"""Agents that a replica asks at a time, for all accounts."""
_NO_QUOTAS: Final = UsageQuotas(**dict.fromkeys(KINDS))

Days = dict[str, DayUsage]
Steps = dict[str, StepCounts]

_log = get_logger(__name__)


class Usage:
    """Reads of an account's own usage."""

    def __init__(self, caches: Caches, agents: Agents) -> None:
        self._caches = caches
        self._agents = agents
        self._turns = asyncio.Semaphore(ASKED_AT_ONCE)
        self._asking: dict[str, asyncio.Task[dict[str, Steps]]] = {}

    async def period(self, caller: Caller) -> UsageObject:
        """Return the usage of the current month.

        Raises:
            Problem: feature-unavailable while copies may be out of date.
        """
        days, today = await self._days(caller), now().date()
        start = today.replace(day=1)
        end = (start + timedelta(days=31)).replace(day=1)
        total = summed(usage for day, usage in days.items() if start.isoformat() <= day < end.isoformat())
        return UsageObject(
            period_start=_midnight(start),
            period_end=_midnight(end),
            tier=caller.account.spec.tier,
            totals=UsageTotals(**msgspec.structs.asdict(total)),
            quotas=_NO_QUOTAS,
        )

    async def series(self, caller: Caller, days: int) -> UsageSeries:
        """Return the usage of so many days before today; raise as `period` does."""
        used, today = await self._days(caller), now().date()
        dates = [(today - timedelta(days=ago)).isoformat() for ago in range(days, 0, -1)]
        return UsageSeries(
            from_date=dates[0],
            to_date=dates[-1],
            buckets=[UsageBucket(date=day, totals=_totals(used.get(day))) for day in dates],
        )

    async def _days(self, caller: Caller) -> Days:
        namespace = caller.namespace
        told = await self._ask_all(namespace)
        if not (self._caches.usage_fresh and self._caches.sessions_fresh):
            raise unavailable("What was used can't be told for certain right now.")
        # No await from here on: all of it is of one moment.
        sums = self._caches.usage.of_namespace(namespace)
        folded, total = set(sums.folded), dict(sums.days)
        moment = now()
        for entry in self._caches.sessions.entries(namespace):
            if entry.record is None and entry.session is not None:
                add(total, _of_live(entry, entry.session, told.get(entry.uid, {}), moment))
            elif entry.record is not None and entry.uid not in folded:
                add(total, usage_of_record(entry.record.spec))
        return total

    async def _ask_all(self, namespace: str) -> dict[str, Steps]:
        """Ask the agents of an account's live sessions; calls at the same time share the answers."""
        asking = self._asking.get(namespace)
        if asking is None:
            asking = self._asking[namespace] = asyncio.create_task(self._answers(namespace))
            asking.add_done_callback(lambda _: self._asking.pop(namespace))
        return await asyncio.shield(asking)

    async def _answers(self, namespace: str) -> dict[str, Steps]:
        live = [e.session for e in self._caches.sessions.entries(namespace) if e.session is not None and not e.gone]
        answers = await asyncio.gather(*(self._ask(session) for session in live if session.status.browser))
        return dict(answer for answer in answers if answer is not None)

    async def _ask(self, session: Session) -> tuple[str, Steps] | None:
        try:
            async with asyncio.timeout(ASK_SECONDS), self._turns:
                return session.uid, await self._agents.steps_done(session, ASK_SECONDS)
        except (AgentError, Problem, TimeoutError) as error:
            _log.info("steps of a live session are not known", session=session.uid, error=str(error))
            return None


def _of_live(entry: Entry, session: Session, steps: Steps, moment: datetime) -> Days:
    """Return what a session without a record has used so far; while it is creating, no minutes."""
    until = entry.gone_at or moment
    started = session.status.phase is not Phase.CREATING
    minutes = minutes_of(session.created_at, until) if started else {}
    return usage_of(minutes, plausible(steps, session.created_at.date(), until.date()))


def _totals(usage: DayUsage | None) -> dict[str, int]:
    return {} if usage is None else {kind: getattr(usage, kind) for kind in KINDS}


def _midnight(day: date) -> str:
    return format_time(datetime.combine(day, time(), UTC))
