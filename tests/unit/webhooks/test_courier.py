"""Deliveries on their way, in virtual time."""

from __future__ import annotations

import asyncio
import copy
import functools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from driftstack_common.kinds import DeliveryPhase, WebhookDelivery, WebhookEndpoint
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import SECRET as SECRET_KIND
from driftstack_common.kube.errors import Conflict, KubeError, Unreachable
from driftstack_operator.webhooks import courier
from driftstack_operator.webhooks.lanes import FIRST_LIMIT, MOST
from driftstack_operator.webhooks.outcomes import KEPT
from driftstack_operator.webhooks.schedule import Answer
from driftstack_operator.webhooks.turns import QUICK_AT_ONCE, SLOW_AT_ONCE
from tests.unit.operator.leases import run
from tests.unit.webhooks.builders import NAMESPACE, NOW, SECRET, delivery, endpoint_body
from tests.unit.webhooks.rig import Rig

REFUSING = Answer(status=500, excerpt="oops", error="answered 500")
HOUR = 3600.0


def in_virtual_time(test: Callable[[Rig], Awaitable[None]]) -> Callable[[], None]:
    """Run a test with a rig that has one endpoint and its Secret, and parts that run beside it."""

    @functools.wraps(test)
    def wrapped() -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            rig = Rig(lambda: NOW + timedelta(seconds=loop.time()))
            rig.put_secret()
            parts = [asyncio.create_task(part) for part in (rig.courier.run(), rig.endpoints.run())]
            try:
                await test(rig)
            finally:
                for part in parts:
                    part.cancel()
                await asyncio.wait(parts)

        run(main())

    del wrapped.__wrapped__  # type: ignore[attr-defined] # pytest would ask for a fixture called rig
    return wrapped


def refuse(_url: str, _delivery: WebhookDelivery) -> Answer:
    return REFUSING


@in_virtual_time
async def test_arrives_at_once_and_costs_one_write(rig: Rig) -> None:
    hook = rig.put(endpoint_body())
    one = delivery(hook)
    rig.put_delivery(one)
    await asyncio.sleep(0.1)
    assert rig.sender.attempts == [(0.0, hook.spec.url, one.spec.event_id, [SECRET])]
    assert rig.status(one)["phase"] == "delivered"
    assert [plural for _, plural, _ in rig.kube.calls] == ["webhookdeliveries"]


@in_virtual_time
async def test_schedule_of_a_receiver_that_never_answers_well(rig: Rig) -> None:
    rig.sender.answer = refuse
    hook = rig.put(endpoint_body())
    one = delivery(hook)
    rig.put_delivery(one)
    await asyncio.sleep(5 * HOUR)
    assert rig.sender.minutes == [0, 1, 6, 21, 51, 111]
    status = rig.status(one)
    assert (status["phase"], status["attempts"], status["lastResponseStatus"]) == ("dlq", 6, 500)
    assert (status["lastResponseExcerpt"], status["lastError"]) == ("oops", "answered 500")
    assert {event for *_, event, _ in rig.sender.attempts} == {one.spec.event_id}
    assert rig.endpoint_status()["counts"] == {"delivered": 0, "failed": 6, "dlq": 1}
    assert rig.endpoint_status()["consecutiveFailures"] == 1


@in_virtual_time
async def test_second_attempt_arrives(rig: Rig) -> None:
    answers = [REFUSING, Answer(status=200)]
    rig.sender.answer = lambda *_: answers.pop(0)
    one = delivery(rig.put(endpoint_body()))
    rig.put_delivery(one)
    await asyncio.sleep(HOUR)
    assert rig.sender.minutes == [0, 1]
    assert (rig.status(one)["phase"], rig.status(one)["attempts"]) == ("delivered", 2)
    assert "lastError" not in rig.status(one)


@in_virtual_time
async def test_restart_goes_on_where_the_status_says(rig: Rig) -> None:
    hook = rig.put(endpoint_body())
    rig.put_delivery(delivery(hook, 1, phase="failed", attempts=3, nextAttemptAt="2026-05-12T12:20:00Z"))
    rig.put_delivery(delivery(hook, 2, phase="in_flight", attempts=0))
    rig.put_delivery(delivery(hook, 3, phase="delivered", attempts=1))
    await asyncio.sleep(HOUR)
    assert rig.sender.minutes == [0, 20]


@in_virtual_time
async def test_replay_begins_the_schedule_anew(rig: Rig) -> None:
    one = delivery(rig.put(endpoint_body()), phase="dlq", attempts=6)
    rig.put_delivery(one)
    await asyncio.sleep(HOUR)
    assert not rig.sender.attempts
    rig.kube.change(WebhookDelivery.KIND, *one.key, phase="pending", attempts=0)
    await asyncio.sleep(1)
    assert (rig.status(one)["phase"], rig.status(one)["attempts"]) == ("delivered", 1)


@in_virtual_time
async def test_long_attempt_shows_as_in_flight(rig: Rig) -> None:
    async def slowly() -> Answer:
        await asyncio.sleep(8)
        return Answer(status=200)

    rig.sender.answer = lambda *_: slowly()
    one = delivery(rig.put(endpoint_body()))
    rig.put_delivery(one)
    await asyncio.sleep(0.9)
    assert rig.status(one)["phase"] == "pending"
    await asyncio.sleep(1)
    assert rig.status(one)["phase"] == "in_flight"
    assert rig.courier.depth(DeliveryPhase.IN_FLIGHT) == 1
    await asyncio.sleep(8)
    assert (rig.status(one)["phase"], len(rig.sender.attempts)) == ("delivered", 1)


def takes(seconds: float, answer: Answer) -> Callable[[str, WebhookDelivery], Any]:
    """Return how a receiver behaves that is slow at hosts whose name has slow in it, and fine at others."""

    async def slowly() -> Answer:
        await asyncio.sleep(seconds)
        return answer

    return lambda url, _: slowly() if "slow" in url else Answer(status=200)


def put_slow(rig: Rig, endpoints: int, events: int) -> list[WebhookDelivery]:
    """Put so many deliveries to each of so many slow endpoints; return all of them."""
    made = []
    for number in range(2, 2 + endpoints):
        body = endpoint_body(f"slow-{number}", number, url="https://slow.example.com/", secretRef={"name": "hook"})
        slow = rig.put(body)
        made += [delivery(slow, 1000 * number + event) for event in range(events)]
    for one in made:
        rig.put_delivery(one)
    return made


def put_good(rig: Rig, events: int) -> None:
    good = rig.put(endpoint_body())
    for event in range(events):
        rig.put_delivery(delivery(good, event + 1))


def sent_to_good(rig: Rig) -> int:
    return sum("slow" not in url for _, url, _, _ in rig.sender.attempts)


@in_virtual_time
async def test_dead_endpoints_delay_no_other(rig: Rig) -> None:
    rig.sender.answer = takes(10, Answer(error="no answer within 10 s"))
    put_slow(rig, endpoints=10, events=100)
    await asyncio.sleep(0.5)
    assert rig.sender.busy == 10 * FIRST_LIMIT
    put_good(rig, 100)
    await asyncio.sleep(0.1)
    assert sent_to_good(rig) == 100


@in_virtual_time
async def test_endpoints_that_turn_slow_all_at_once_delay_others_by_a_second(rig: Rig) -> None:
    rig.sender.answer = takes(10, Answer(error="no answer within 10 s"))
    put_slow(rig, endpoints=QUICK_AT_ONCE // FIRST_LIMIT, events=100)
    put_good(rig, 100)
    await asyncio.sleep(0.9)
    assert sent_to_good(rig) == 0
    await asyncio.sleep(0.2)
    assert sent_to_good(rig) == 100


@in_virtual_time
async def test_many_slow_endpoints_share_what_the_others_leave(rig: Rig) -> None:
    rig.sender.answer = takes(9, Answer(status=200))
    slow = put_slow(rig, endpoints=100, events=20)
    await asyncio.sleep(60)
    assert rig.sender.busy == SLOW_AT_ONCE
    put_good(rig, 100)
    await asyncio.sleep(0.1)
    assert sent_to_good(rig) == 100
    await asyncio.sleep(HOUR)
    assert {rig.status(one)["phase"] for one in slow} == {"delivered"}


@in_virtual_time
async def test_endpoint_that_answers_fast_again_is_quick_again(rig: Rig) -> None:
    rig.sender.answer = takes(9, Answer(status=200))
    put_slow(rig, endpoints=1, events=1)
    (lane,) = rig.courier._lanes.values()
    for moment, slow in ((0.9, False), (0.2, True), (20, True)):
        await asyncio.sleep(moment)
        assert lane.slow is slow
    rig.sender.answer = lambda *_: REFUSING
    put_slow(rig, endpoints=1, events=2)
    await asyncio.sleep(0.1)
    assert not lane.slow


@in_virtual_time
async def test_only_small_bodies_are_kept_and_large_ones_are_sent(rig: Rig) -> None:
    sent: list[str] = []

    def receive(_url: str, one: WebhookDelivery) -> Answer:
        sent.append(one.spec.payload)
        return Answer(status=500, excerpt="x" * 4096, error="answered 500")

    rig.sender.answer = receive
    hook = rig.put(endpoint_body())
    bodies = {1: "s" * KEPT, 2: "l" * (KEPT + 1)}
    for number, payload in bodies.items():
        one = delivery(hook, number)
        rig.put_delivery(replace(one, spec=replace(one.spec, payload=payload)))
    await asyncio.sleep(1)
    assert sorted(sent) == sorted(bodies.values())
    assert [len(each.spec.payload) for each in rig.courier._plans.all()] == [KEPT, 0]
    assert {each.status.last_response_excerpt for each in rig.courier._plans.all()} == {None}
    await asyncio.sleep(90)
    assert sorted(sent[2:]) == sorted(bodies.values())


@in_virtual_time
async def test_body_that_can_not_be_read_now_is_no_failed_attempt(rig: Rig) -> None:
    one = delivery(rig.put(endpoint_body()))
    one = replace(one, spec=replace(one.spec, payload="l" * (KEPT + 1)))
    rig.kube.fail("get", WebhookDelivery.KIND.plural, KubeError("away", status=503))
    rig.put_delivery(one)
    await asyncio.sleep(0.9)
    assert not rig.sender.attempts
    await asyncio.sleep(3)
    assert (rig.status(one)["phase"], rig.status(one)["attempts"]) == ("delivered", 1)


@in_virtual_time
async def test_one_endpoint_gets_a_bounded_number_at_once(rig: Rig) -> None:
    async def slowly() -> Answer:
        await asyncio.sleep(1)
        return Answer(status=200)

    rig.sender.answer = lambda *_: slowly()
    hook = rig.put(endpoint_body())
    for event in range(200):
        rig.put_delivery(delivery(hook, event + 1))
    await asyncio.sleep(60)
    assert len(rig.sender.attempts) == 200
    assert rig.sender.busiest == MOST


@in_virtual_time
async def test_endpoint_that_answers_well_gets_more_at_once_soon(rig: Rig) -> None:
    async def quickly() -> Answer:
        await asyncio.sleep(0.1)
        return Answer(status=200)

    rig.sender.answer = lambda *_: quickly()
    hook = rig.put(endpoint_body())
    for event in range(100):
        rig.put_delivery(delivery(hook, event + 1))
    await asyncio.sleep(0.9)  # before the endpoint's status is written, which looks at it anew
    assert len(rig.sender.attempts) == 100


@in_virtual_time
async def test_paused_endpoint_keeps_its_deliveries_until_it_is_resumed(rig: Rig) -> None:
    hook = rig.put(endpoint_body(paused=True))
    one = delivery(hook)
    rig.put_delivery(one)
    await asyncio.sleep(HOUR)
    assert not rig.sender.attempts
    assert rig.status(one)["lastError"] == "held: the endpoint is paused"
    rig.put(endpoint_body(generation=2))
    await asyncio.sleep(1)
    assert rig.status(one)["phase"] == "delivered"


@in_virtual_time
async def test_what_waits_too_long_is_given_up(rig: Rig) -> None:
    one = delivery(rig.put(endpoint_body(paused=True)))
    rig.put_delivery(one)
    await asyncio.sleep(2 * HOUR + 60)
    assert rig.status(one)["phase"] == "dlq"
    assert rig.status(one)["lastError"] == "too old; held: the endpoint is paused"
    assert rig.endpoint_status()["counts"]["dlq"] == 1
    assert rig.endpoint_status()["consecutiveFailures"] == 0


@in_virtual_time
async def test_only_so_many_wait_for_one_endpoint(rig: Rig) -> None:
    hook = rig.put(endpoint_body(paused=True))
    held = [delivery(hook, event + 1, NOW + timedelta(seconds=event)) for event in range(5)]
    for one in reversed(held):
        rig.put_delivery(one)
    with patch.object(courier, "MOST_HELD", 3):
        await asyncio.sleep(60)
    phases = [rig.status(one).get("phase", "pending") for one in held]
    assert phases == ["dlq", "dlq", "pending", "pending", "pending"], "the oldest go"
    assert rig.status(held[0])["lastError"] == "too many wait; held: the endpoint is paused"


@in_virtual_time
async def test_disabled_endpoint_gives_its_deliveries_up(rig: Rig) -> None:
    one = delivery(rig.put(endpoint_body(disabled=True)))
    rig.put_delivery(one)
    await asyncio.sleep(1)
    assert not rig.sender.attempts
    assert (rig.status(one)["phase"], rig.status(one)["lastError"]) == ("dlq", "the endpoint is disabled")


@in_virtual_time
async def test_fifty_deliveries_given_up_in_a_row_disable_the_endpoint(rig: Rig) -> None:
    rig.sender.answer = refuse
    hook = rig.put(endpoint_body())
    for event in range(49):
        rig.put_delivery(delivery(hook, event + 1))
    await asyncio.sleep(3 * HOUR)
    status = rig.endpoint_status()
    assert (status["consecutiveFailures"], status.get("disabledAt")) == (49, None)
    rig.put_delivery(delivery(hook, 50))
    waiting = delivery(hook, 51)
    await asyncio.sleep(HOUR)
    rig.put_delivery(waiting)
    await asyncio.sleep(2 * HOUR)
    status = rig.endpoint_status()
    assert (status["consecutiveFailures"], status["disabledGeneration"]) == (50, 1)
    assert status["conditions"][0]["reason"] == "TooManyFailures"
    assert rig.status(waiting)["lastError"] == "the endpoint is disabled"
    rig.sender.answer = lambda *_: Answer(status=200)
    rig.put(
        rig.kube.objects["webhookendpoints", NAMESPACE, "hook"]
        | {"metadata": endpoint_body(generation=2)["metadata"]}
    )
    fresh = delivery(hook, 52)
    rig.put_delivery(fresh)
    await asyncio.sleep(5)
    assert rig.status(fresh)["phase"] == "delivered"
    assert rig.endpoint_status()["consecutiveFailures"] == 0
    assert rig.endpoint_status()["conditions"][0]["status"] == "True"


@in_virtual_time
async def test_one_success_breaks_the_row(rig: Rig) -> None:
    rig.sender.answer = refuse
    hook = rig.put(endpoint_body())
    for event in range(49):
        rig.put_delivery(delivery(hook, event + 1))
    await asyncio.sleep(3 * HOUR)
    rig.sender.answer = lambda *_: Answer(status=200)
    rig.put_delivery(delivery(hook, 50))
    await asyncio.sleep(5)
    assert rig.endpoint_status()["consecutiveFailures"] == 0


@in_virtual_time
async def test_missing_secret_is_no_failed_attempt(rig: Rig) -> None:
    rig.kube.vanish(SECRET_KIND, NAMESPACE, "hook")
    one = delivery(rig.put(endpoint_body()))
    rig.put_delivery(one)
    await asyncio.sleep(60)
    condition = rig.endpoint_status()["conditions"][0]
    assert (condition["status"], condition["reason"]) == ("False", "SecretMissing")
    assert condition["message"] == "create the Secret hook with the entry secret"
    assert (rig.status(one)["phase"], rig.status(one).get("attempts", 0)) == ("pending", 0)
    rig.put_secret()
    await asyncio.sleep(6)
    assert rig.status(one)["phase"] == "delivered"
    assert rig.endpoint_status()["conditions"][0]["status"] == "True"


@in_virtual_time
async def test_rotation_signs_with_both_until_it_is_over(rig: Rig) -> None:
    rig.put_secret("new", "whsec_" + "B" * 32)
    previous = {"name": "hook", "expiresAt": "2026-05-12T14:00:00Z"}
    hook = rig.put(endpoint_body(secretRef={"name": "new"}, previousSecretRef=previous))
    rig.put_delivery(delivery(hook, 1))
    await asyncio.sleep(2 * HOUR)
    rig.put_delivery(delivery(hook, 2))
    await asyncio.sleep(1)
    new = "whsec_" + "B" * 32
    assert [keys for *_, keys in rig.sender.attempts] == [[new, SECRET], [new]]


@in_virtual_time
async def test_outcome_is_written_when_the_api_server_is_back_and_nothing_is_sent_twice(rig: Rig) -> None:
    one = delivery(rig.put(endpoint_body()))
    rig.break_writes(20)
    rig.put_delivery(one)
    await asyncio.sleep(HOUR)
    assert (len(rig.sender.attempts), rig.status(one)["phase"]) == (1, "delivered")


@in_virtual_time
async def test_outcome_of_a_delivery_that_can_not_be_read_is_tried_with_pauses(rig: Rig) -> None:
    one = delivery(rig.put(endpoint_body()))
    for verb, error in (("patch", Conflict("changed", status=409)), ("get", KubeError("away", status=503))):
        for _ in range(20):
            rig.kube.fail(verb, WebhookDelivery.KIND.plural, error)
    rig.put_delivery(one)
    await asyncio.sleep(1)
    assert len(rig.sender.attempts) == 1
    assert sum(plural == WebhookDelivery.KIND.plural for _, plural, _ in rig.kube.calls) < 6
    await asyncio.sleep(HOUR)
    assert (len(rig.sender.attempts), rig.status(one)["phase"]) == (1, "delivered")


@in_virtual_time
async def test_watch_that_is_behind_sends_nothing_twice(rig: Rig) -> None:
    one = delivery(rig.put(endpoint_body()))
    rig.put_delivery(one)
    await asyncio.sleep(1)
    rig.courier.delivery_seen(one)
    await asyncio.sleep(HOUR)
    assert len(rig.sender.attempts) == 1


@in_virtual_time
async def test_replay_that_the_watch_brings_before_the_answer_to_the_outcome_is_sent(rig: Rig) -> None:
    patched = rig.kube.merge_patch

    async def overtaken(kind: Kind, namespace: str | None, name: str, *words: Any) -> Any:
        answer = copy.deepcopy(await patched(kind, namespace, name, *words))
        if kind is WebhookDelivery.KIND and len(rig.sender.attempts) == 1:
            rig.kube.change(kind, namespace or "", name, phase="pending", attempts=0)
        return answer

    rig.kube.merge_patch = overtaken  # type: ignore[method-assign]
    one = delivery(rig.put(endpoint_body()))
    rig.put_delivery(one)
    await asyncio.sleep(60)
    assert (len(rig.sender.attempts), rig.status(one)["phase"]) == (2, "delivered")


@in_virtual_time
async def test_late_watch_repeats_nothing_though_the_answer_to_the_outcome_was_lost(rig: Rig) -> None:
    rig.sender.answer = takes(8, Answer(status=200))
    one = delivery(rig.put(endpoint_body(url="https://slow.example.com/")))
    rig.put_delivery(one)
    await asyncio.sleep(2)
    in_flight = rig.read(one)
    rig.watching = False
    rig.kube.fail("patch", WebhookDelivery.KIND.plural, Unreachable("broken off"), after=True)
    await asyncio.sleep(10)
    assert rig.status(one)["phase"] == "delivered"
    rig.courier.delivery_seen(in_flight)
    await asyncio.sleep(10)
    assert len(rig.sender.attempts) == 1


@in_virtual_time
async def test_late_watch_repeats_nothing_though_what_was_said_was_answered_after_the_outcome(rig: Rig) -> None:
    hook = rig.put(endpoint_body(paused=True))
    one = delivery(hook)
    rig.put_delivery(one)
    rig.watching = False
    patched = rig.kube.merge_patch

    async def answered_late(kind: Kind, namespace: str | None, name: str, patch: Any, *words: Any) -> Any:
        answer = copy.deepcopy(await patched(kind, namespace, name, patch, *words))
        await asyncio.sleep(2 if "phase" not in patch["status"] else 0)
        return answer

    rig.kube.merge_patch = answered_late  # type: ignore[method-assign]
    rig.courier.sweep()
    await asyncio.sleep(1)
    said = rig.read(one)
    assert said.status.last_error == "held: the endpoint is paused"
    rig.watching = True
    rig.put(endpoint_body(generation=2))
    rig.watching = False
    await asyncio.sleep(0.5)
    assert rig.status(one)["phase"] == "delivered"
    await asyncio.sleep(2)
    rig.courier.delivery_seen(said)
    await asyncio.sleep(10)
    assert len(rig.sender.attempts) == 1


@in_virtual_time
async def test_delivery_that_goes_before_the_answer_to_its_outcome_is_forgotten(rig: Rig) -> None:
    patched = rig.kube.merge_patch

    async def overtaken(kind: Kind, namespace: str | None, name: str, *words: Any) -> Any:
        answer = copy.deepcopy(await patched(kind, namespace, name, *words))
        if kind is WebhookDelivery.KIND:
            rig.kube.vanish(kind, namespace or "", name)
        return answer

    rig.kube.merge_patch = overtaken  # type: ignore[method-assign]
    rig.sender.answer = refuse
    rig.put_delivery(delivery(rig.put(endpoint_body())))
    await asyncio.sleep(HOUR)
    assert (len(rig.sender.attempts), rig.courier._plans.all(), rig.courier._outcomes._known) == (1, [], {})


@in_virtual_time
async def test_deliveries_without_an_endpoint_say_so_and_are_given_up_when_they_are_old(rig: Rig) -> None:
    one = delivery(rig.put(endpoint_body()))
    rig.kube.vanish(WebhookEndpoint.KIND, NAMESPACE, "hook")
    rig.put_delivery(one)
    await asyncio.sleep(60)
    assert rig.status(one)["lastError"] == "held: there is no such endpoint"
    await asyncio.sleep(2 * HOUR)
    assert (rig.status(one)["phase"], rig.sender.attempts) == ("dlq", [])


@in_virtual_time
async def test_dead_endpoint_is_disabled_however_many_new_events_there_are(rig: Rig) -> None:
    rig.sender.answer = takes(10, Answer(error="no answer within 10 s"))
    hook = rig.put(endpoint_body(url="https://slow.example.com/"))
    for minute in range(180):
        for event in range(20):
            number = 1 + minute * 20 + event
            rig.put_delivery(delivery(hook, number, NOW + timedelta(seconds=minute * 60 + event)))
        await asyncio.sleep(60)
    assert rig.endpoint_status()["conditions"][0]["reason"] == "TooManyFailures"


@in_virtual_time
async def test_outcome_of_another_dispatcher_stands(rig: Rig) -> None:
    """This one was cut off while it sent, and another has taken over since."""

    async def cut_off() -> Answer:
        rig.kube.change(WebhookDelivery.KIND, *one.key, phase="delivered", attempts=1)
        return REFUSING

    rig.sender.answer = lambda *_: cut_off()
    one = delivery(rig.put(endpoint_body()))
    rig.put_delivery(one)
    await asyncio.sleep(HOUR)
    assert (rig.status(one)["phase"], len(rig.sender.attempts)) == ("delivered", 1)


@in_virtual_time
async def test_long_attempt_writes_nothing_over_what_another_dispatcher_wrote(rig: Rig) -> None:
    async def cut_off() -> Answer:
        rig.kube.change(WebhookDelivery.KIND, *one.key, phase="delivered", attempts=1)
        await asyncio.sleep(5)
        return REFUSING

    rig.sender.answer = lambda *_: cut_off()
    one = delivery(rig.put(endpoint_body()))
    rig.put_delivery(one)
    await asyncio.sleep(HOUR)
    assert (rig.status(one)["phase"], len(rig.sender.attempts)) == ("delivered", 1)


async def crowd(rig: Rig) -> WebhookDelivery:
    """Have as many attempts made as can be; return a delivery that waits for its turn, within half a second."""
    rig.sender.answer = takes(9, Answer(status=200))
    put_slow(rig, endpoints=QUICK_AT_ONCE // FIRST_LIMIT, events=FIRST_LIMIT)
    await asyncio.sleep(0.1)
    waiting = delivery(rig.put(endpoint_body()))
    rig.put_delivery(waiting)
    await asyncio.sleep(0.1)
    assert len(rig.sender.attempts) == QUICK_AT_ONCE
    return waiting


@in_virtual_time
async def test_nothing_is_sent_to_an_endpoint_that_was_lost_while_its_delivery_waited(rig: Rig) -> None:
    waiting = await crowd(rig)
    rig.sends = False
    await rig.courier.drained(lambda uid: uid == waiting.spec.endpoint.uid)
    assert asyncio.get_running_loop().time() < 1, "what waits for its turn is not in hand"
    await asyncio.sleep(60)
    assert sent_to_good(rig) == 0
    rig.sends = True
    rig.courier.wake_all()
    await asyncio.sleep(1)
    assert rig.status(waiting)["phase"] == "delivered"


@in_virtual_time
async def test_what_another_dispatcher_sent_while_it_waited_here_is_not_sent_again(rig: Rig) -> None:
    waiting = await crowd(rig)
    rig.sends = False
    rig.kube.change(WebhookDelivery.KIND, *waiting.key, phase="delivered", attempts=1)
    await asyncio.sleep(60)
    rig.sends = True
    rig.courier.wake_all()
    await asyncio.sleep(60)
    assert sent_to_good(rig) == 0


@in_virtual_time
async def test_endpoint_that_is_paused_while_its_delivery_waits_is_sent_nothing(rig: Rig) -> None:
    waiting = await crowd(rig)
    rig.put(endpoint_body(generation=2, paused=True))
    await asyncio.sleep(60)
    assert sent_to_good(rig) == 0
    assert rig.status(waiting)["lastError"] == "held: the endpoint is paused"


@in_virtual_time
async def test_attempt_that_fails_by_a_bug_is_made_again(rig: Rig) -> None:
    def broken(_url: str, _delivery: WebhookDelivery) -> Answer:
        rig.sender.answer = lambda *_: Answer(status=200)
        raise ValueError("a bug")

    rig.sender.answer = broken
    one = delivery(rig.put(endpoint_body()))
    rig.put_delivery(one)
    await asyncio.sleep(60)
    assert rig.status(one)["phase"] == "delivered"
    await rig.courier.drained(lambda _: True)


@in_virtual_time
async def test_delivery_that_trips_a_bug_holds_up_no_other(rig: Rig) -> None:
    hook = rig.put(endpoint_body())
    odd, *others = [delivery(hook, event + 1, NOW + timedelta(seconds=event)) for event in range(10)]

    def broken(_url: str, sent: WebhookDelivery) -> Answer:
        if sent.key == odd.key:
            raise ValueError("a bug")
        return REFUSING if sent.status.attempts == 0 else Answer(status=200)

    rig.sender.answer = broken
    for one in (odd, *others):
        rig.put_delivery(one)
    await asyncio.sleep(900)
    assert {rig.status(one)["phase"] for one in others} == {"delivered"}
    assert rig.courier.oldest() == 900, "it shows"


@in_virtual_time
async def test_thousands_that_wait_are_told_why_one_after_the_other(rig: Rig) -> None:
    hook = rig.put(endpoint_body(paused=True))
    held = [delivery(hook, event + 1) for event in range(500)]
    for one in held:
        rig.put_delivery(one)
    rig.courier.sweep()
    rig.courier.sweep()
    assert len(rig.courier._tasks) == 1
    await asyncio.sleep(60)
    assert {rig.status(one)["lastError"] for one in held} == {"held: the endpoint is paused"}


@in_virtual_time
async def test_others_endpoints_are_left_alone_until_they_are_ours(rig: Rig) -> None:
    rig.sends = False
    one = delivery(rig.put(endpoint_body()))
    rig.put_delivery(one)
    await asyncio.sleep(HOUR)
    assert (rig.sender.attempts, rig.kube.calls) == ([], [])
    rig.sends = True
    rig.courier.wake_all()
    await asyncio.sleep(1)
    assert rig.status(one)["phase"] == "delivered"


@in_virtual_time
async def test_deleted_endpoint_is_forgotten(rig: Rig) -> None:
    rig.sender.answer = refuse
    one = delivery(rig.put(endpoint_body()))
    rig.put_delivery(one)
    await asyncio.sleep(1)
    rig.kube.vanish(WebhookEndpoint.KIND, NAMESPACE, "hook")
    rig.kube.vanish(WebhookDelivery.KIND, *one.key)
    await asyncio.sleep(HOUR)
    assert len(rig.sender.attempts) == 1
    assert rig.courier._lanes == {}


@in_virtual_time
async def test_endpoint_that_goes_while_it_is_sent_to_or_written_is_forgotten(rig: Rig) -> None:
    async def slowly() -> Answer:
        await asyncio.sleep(5)
        return REFUSING

    rig.sender.answer = lambda *_: slowly()
    one = delivery(rig.put(endpoint_body()))
    rig.put_delivery(one)
    patch = rig.kube.merge_patch

    async def overtaken(kind: Kind, namespace: str | None, name: str, *words: Any) -> Any:
        answer = await patch(kind, namespace, name, *words)
        if kind is WebhookEndpoint.KIND:
            rig.kube.vanish(kind, namespace, name)
        return answer

    rig.kube.merge_patch = overtaken  # type: ignore[method-assign]
    await asyncio.sleep(2)
    assert not [key for key in rig.kube.objects if key[0] == WebhookEndpoint.KIND.plural]
    rig.kube.vanish(WebhookDelivery.KIND, *one.key)
    await asyncio.sleep(60)
    assert (rig.endpoints._known, rig.endpoints._tallies, rig.courier._lanes) == ({}, {}, {})


@in_virtual_time
async def test_figures(rig: Rig) -> None:
    rig.sender.answer = refuse
    hook = rig.put(endpoint_body())
    rig.put_delivery(delivery(hook, 1))
    await asyncio.sleep(30)
    value = rig.metrics.registry.get_sample_value
    rig.metrics.show(rig.courier.depth, rig.courier.oldest)
    assert value("driftstack_webhook_attempts_total", {"outcome": "5xx"}) == 1
    assert value("driftstack_webhook_deliveries", {"phase": "failed"}) == 1
    assert value("driftstack_webhook_oldest_due_seconds") == 0  # it waits for its time, as it should
    rig.kube.vanish(SECRET_KIND, NAMESPACE, "hook")
    await asyncio.sleep(3 * HOUR)
    assert value("driftstack_webhook_deliveries_finished_total", {"phase": "dlq"}) == 1
