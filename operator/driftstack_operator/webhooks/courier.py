"""Sends what is due: one lane per endpoint, bounded each and in total; outcomes are written before more follows.

Which deliveries there are, and how far each is, the API server alone says. What is remembered here can be lost: a
delivery whose outcome was not written is sent again, with the same event id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any, Final

from driftstack_common.kinds import DeliveryPhase, WebhookDelivery, WebhookEndpoint
from driftstack_common.kube.errors import KubeError
from driftstack_common.logging import get_logger
from driftstack_common.times import now
from driftstack_operator.webhooks.attempts import Attempts
from driftstack_operator.webhooks.endpoints import Endpoints
from driftstack_operator.webhooks.keys import NoKey
from driftstack_operator.webhooks.lanes import Key, Lane
from driftstack_operator.webhooks.outcomes import Outcomes
from driftstack_operator.webhooks.plans import Plans
from driftstack_operator.webhooks.schedule import Status, given_up
from driftstack_operator.webhooks.turns import Turn, Turns

IN_HAND: Final = 512
"""Attempts, and outcomes that are being written; with more, nothing is sent: no API server, no deliveries."""
KEY_RETRY: Final = 3.0
SWEEP: Final = 15.0
MOST_SWEPT: Final = 100
"""Waiting deliveries of one endpoint that are given up in one sweep."""
MOST_HELD: Final = 5_000
"""Deliveries that may wait for one endpoint that is paused or lacks its key: facade and dispatcher remember all."""

logger = get_logger(__name__)


class Courier:
    """Knows all unfinished deliveries, and sends those to endpoints that are this process's.

    Args:
        attempts: makes them.
        outcomes: writes what became of them.
        endpoints: told whose key is missing.
        sends: whether this process may send to the endpoint of this uid.
        longest: age at which a delivery that waits is given up.
        clock: the time of day.
    """

    def __init__(
        self,
        *,
        attempts: Attempts,
        outcomes: Outcomes,
        endpoints: Endpoints,
        sends: Callable[[str], bool],
        longest: timedelta,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._attempts = attempts
        self._outcomes = outcomes
        self._endpoints = endpoints
        self._sends = sends
        self._longest = longest
        self._clock = clock
        self._plans = Plans(self._due, clock)
        self._lanes: dict[str, Lane] = {}
        self._turns = Turns()
        self._in_hand = asyncio.Semaphore(IN_HAND)
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling: asyncio.Task[None] | None = None

    # -- what is observed

    def endpoint_seen(self, endpoint: WebhookEndpoint) -> None:
        """An endpoint is new or has changed."""
        lane = self._lane(endpoint.metadata.uid)
        lane.endpoint, lane.blocked = endpoint, None
        self.wake(endpoint.metadata.uid)

    def endpoint_gone(self, uid: str) -> None:
        """An endpoint is gone; its deliveries follow."""
        self._lane(uid).endpoint = None
        self._tidy(uid)

    def delivery_seen(self, delivery: WebhookDelivery) -> None:
        """A delivery is new or has changed."""
        if not self._outcomes.overtook(delivery):
            self._take(delivery)

    def delivery_gone(self, delivery: WebhookDelivery) -> None:
        """A delivery is gone."""
        self._outcomes.forget(delivery.key)
        self._drop(delivery.key, delivery.spec.endpoint.uid)

    # -- whose is what

    def wake(self, uid: str) -> None:
        """Begin as many attempts at this endpoint as may be."""
        lane = self._lanes.get(uid)
        if lane is not None and self._may(uid, lane):
            for _ in range(lane.room):
                lane.running += 1
                self._start(self._run(uid, lane), f"send-{uid}")

    def wake_all(self) -> None:
        """Begin whatever may be begun."""
        for uid in list(self._lanes):
            self.wake(uid)

    async def drained(self, mine: Callable[[str], bool]) -> None:
        """Wait until nothing is in hand at these endpoints, which are owned no more."""
        while any(lane.busy for uid, lane in self._lanes.items() if mine(uid)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # once in the life of a shard

    async def run(self) -> None:
        """Sweep until cancelled; then nothing goes on."""
        try:
            while True:
                await asyncio.sleep(SWEEP)
                self.sweep()
        finally:
            for task in list(self._tasks):
                task.cancel()

    def sweep(self) -> None:
        """Give up what has waited too long, say why the rest waits, and begin what was forgotten."""
        news: list[tuple[WebhookDelivery, str]] = []
        for uid, lane in list(self._lanes.items()):
            if self._sends(uid) and not lane.open:
                why = f"held: {lane.held}"
                news += [(delivery, why) for delivery in self._waiting(uid, lane, why)]
            self.wake(uid)
        if news and (self._telling is None or self._telling.done()):
            self._telling = self._start(self._tell(news), "tell")

    def _waiting(self, uid: str, lane: Lane, why: str) -> list[WebhookDelivery]:
        """Give up what is too old or too much; return what of the rest does not say yet why it waits."""
        known = [delivery for key in lane.due if (delivery := self._plans.get(key)) is not None]
        surplus = len(known) - MOST_HELD
        hopeless = [
            (each, "too many wait" if place < surplus else "too old")
            for place, each in enumerate(known)
            if place < surplus or self._clock() - each.spec.created_at > self._longest
        ]
        for delivery, cause in hopeless[:MOST_SWEPT]:
            lane.take(delivery.key)
            self._start(self._give_up(uid, lane, delivery, f"{cause}; {why}"), "give-up")
        return [each for each in known if each.status.last_error != why and each.key in lane.due]

    async def _tell(self, news: list[tuple[WebhookDelivery, str]]) -> None:
        """Say why deliveries wait, one after the other: there may be thousands, and it is nothing urgent."""
        for delivery, why in news:
            await self._outcomes.say(delivery, {"lastError": why})

    # -- figures

    def oldest(self) -> float:
        """Return the seconds since the oldest event that could have been delivered by us and was not."""
        moments = [
            delivery.spec.created_at
            for uid, lane in self._lanes.items()
            if self._sends(uid) and lane.open
            for key in (*lane.due, *lane.busy)
            if (delivery := self._plans.get(key)) is not None
        ]
        return max(0.0, (self._clock() - min(moments)).total_seconds()) if moments else 0.0

    def depth(self, phase: DeliveryPhase) -> int:
        """Return how many unfinished deliveries to our endpoints are in a phase."""
        return sum(each.status.phase is phase for each in self._plans.all() if self._sends(each.spec.endpoint.uid))

    # -- one endpoint's attempts

    def _may(self, uid: str, lane: Lane) -> bool:
        """Whether its deliveries are ours to work on, now."""
        return self._sends(uid) and lane.open

    async def _run(self, uid: str, lane: Lane) -> None:
        """Send one delivery after another, each in its turn among all endpoints."""
        try:
            while lane.due and not lane.crowded and self._may(uid, lane):
                async with AsyncExitStack() as hand:
                    async with self._turns.wait(lane) as turn:
                        await hand.enter_async_context(self._in_hand)
                        outcome = await self._work(uid, turn)
                    if outcome is None:
                        return
                    self.wake(uid)  # after a success there is room for more
                    await self._finish(uid, lane, *outcome)
        finally:
            lane.running -= 1
            self._tidy(uid)

    async def _work(self, uid: str, turn: Turn) -> tuple[WebhookDelivery, Status] | None:
        """Attempt the next delivery; return what follows, None when there is none to send now, or no key for it."""
        lane, endpoint = turn.lane, turn.lane.endpoint
        if endpoint is None or not lane.due or not self._may(uid, lane):  # while it waited for its turn
            return None
        delivery = self._plans[lane.take()]
        if lane.ended is not None:
            self._attempts.forgo(endpoint)
            return delivery, given_up(lane.ended)
        try:
            return delivery, await self._attempts.make(turn, endpoint, delivery)
        except NoKey as error:
            self._block(lane, endpoint, str(error))
        except KubeError as error:
            self._block(lane, endpoint, f"its Secret, or the body, can't be read now: {error}")
        except Exception:  # a bug, perhaps of this one alone: others go first, and the sweep tries again
            lane.busy.discard(delivery.key)
            if self._plans.get(delivery.key) is not None:
                lane.due.add(delivery, last=True)
            raise
        self._put_back(lane, delivery.key)
        return None

    def _put_back(self, lane: Lane, key: Key) -> None:
        """A delivery that was taken has not been sent: what it is by now counts."""
        lane.busy.discard(key)
        delivery = self._plans.get(key)
        if delivery is not None:
            self._take(delivery)

    def _block(self, lane: Lane, endpoint: WebhookEndpoint, why: str) -> None:
        """Try again in a while; that is no failed attempt."""
        lane.blocked = why
        self._endpoints.look_again(endpoint)
        asyncio.get_running_loop().call_later(KEY_RETRY, self._unblock, endpoint.metadata.uid)

    def _unblock(self, uid: str) -> None:
        lane = self._lanes.get(uid)
        if lane is not None:
            lane.blocked = None
            self.wake(uid)

    async def _give_up(self, uid: str, lane: Lane, delivery: WebhookDelivery, why: str) -> None:
        if lane.endpoint is not None:
            self._attempts.forgo(lane.endpoint)
        async with self._in_hand:
            await self._finish(uid, lane, delivery, given_up(why))

    async def _finish(self, uid: str, lane: Lane, delivery: WebhookDelivery, status: Status) -> None:
        """Write an outcome; the delivery is in hand until it is there."""
        try:
            stored = await self._outcomes.write(delivery, status)
        finally:
            lane.busy.discard(delivery.key)
        known = self._plans.get(delivery.key)
        if stored is None or known is None:  # it is gone, by then or since
            self._outcomes.forget(delivery.key)
            self._drop(delivery.key, uid)
        else:  # it may have been replayed since, and the watch have been faster than the answer
            self._take(max(stored, known, key=lambda each: int(each.metadata.resource_version)))

    # -- what is known

    def _take(self, delivery: WebhookDelivery) -> None:
        key, uid = delivery.key, delivery.spec.endpoint.uid
        lane = self._lane(uid)
        if key in lane.busy:  # what is in hand is planned when its outcome is written, or when it is put back
            self._plans.know(delivery)
            return
        lane.due.discard(key)
        if delivery.finished:
            self._drop(key, uid)
        else:
            self._plans.plan(delivery)

    def _due(self, delivery: WebhookDelivery) -> None:
        uid = delivery.spec.endpoint.uid
        self._lane(uid).due.add(delivery)
        self.wake(uid)

    def _drop(self, key: Key, uid: str) -> None:
        self._plans.drop(key)
        self._lane(uid).due.discard(key)
        self._tidy(uid)

    def _lane(self, uid: str) -> Lane:
        return self._lanes.setdefault(uid, Lane())

    def _tidy(self, uid: str) -> None:
        """Forget the lane of an endpoint that is gone."""
        lane = self._lanes.get(uid)
        if lane is not None and lane.endpoint is None and lane.idle and not lane.due:
            del self._lanes[uid]

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:  # a bug, and one delivery's
            logger.error("a task failed", task=task.get_name(), error=repr(error))
