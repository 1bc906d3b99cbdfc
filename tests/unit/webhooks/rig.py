"""A courier on an API server and a receiver that are made up."""

from __future__ import annotations

import asyncio
import base64
import copy
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from driftstack_common.kinds import WebhookDelivery, WebhookEndpoint, from_body, to_body
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import SECRET as SECRET_KIND
from driftstack_common.kube.errors import KubeError
from driftstack_common.webhooks.targets import Rules
from driftstack_operator.webhooks.attempts import Attempts
from driftstack_operator.webhooks.courier import Courier
from driftstack_operator.webhooks.endpoints import Endpoints
from driftstack_operator.webhooks.keys import SigningKeys
from driftstack_operator.webhooks.metrics import Metrics
from driftstack_operator.webhooks.outcomes import Outcomes, lean
from driftstack_operator.webhooks.schedule import Answer
from tests.unit.operator.fakes import FakeKube
from tests.unit.webhooks.builders import NAMESPACE, SECRET

Behaviour = Callable[[str, WebhookDelivery], Any]


class FakeSender:
    """Attributes: attempts as (elapsed seconds, URL, event id, keys); answer makes the answers, or a coroutine."""

    def __init__(self) -> None:
        self.attempts: list[tuple[float, str, str, list[str]]] = []
        self.answer: Behaviour = lambda _url, _delivery: Answer(status=200, excerpt="")
        self.busy = 0
        self.busiest = 0

    async def send(self, url: str, delivery: WebhookDelivery, keys: list[str]) -> Answer:
        self.attempts.append((asyncio.get_running_loop().time(), url, delivery.spec.event_id, keys))
        self.busy += 1
        self.busiest = max(self.busy, self.busiest)
        try:
            answer = self.answer(url, delivery)
            return await answer if asyncio.iscoroutine(answer) else answer
        finally:
            self.busy -= 1

    @property
    def minutes(self) -> list[float]:
        """When attempts were made, in whole minutes since the start."""
        return [round(at / 60, 1) for at, *_ in self.attempts]


class Rig:
    """Objects go to the courier as a watch would bring them."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.kube = FakeKube()
        self.sender = FakeSender()
        self.metrics = Metrics()
        self.sends = True
        outcomes = Outcomes(self.kube)
        keys = SigningKeys(self.kube, clock=lambda: clock().timestamp())
        self.endpoints = Endpoints(
            self.kube,
            keys,
            Rules(),
            owns=lambda _: self.sends,
            changed=lambda new: self.courier.endpoint_seen(new),
            clock=clock,
        )
        self.courier = Courier(
            attempts=Attempts(
                self.sender,  # type: ignore[arg-type] # what it uses of it
                keys,
                outcomes,
                self.endpoints,
                self.metrics,
                clock,
            ),
            outcomes=outcomes,
            endpoints=self.endpoints,
            sends=lambda _: self.sends,
            longest=timedelta(hours=2),
            clock=clock,
        )
        self.kube.watchers.append(self._watch)
        self.watching = True

    def _watch(self, plural: str, event: str, body: dict[str, Any]) -> None:
        if not self.watching:
            return
        if plural == WebhookEndpoint.KIND.plural:
            endpoint = from_body(WebhookEndpoint, copy.deepcopy(body))
            if event == "DELETED":
                self.endpoints.gone(endpoint.metadata.uid)
                self.courier.endpoint_gone(endpoint.metadata.uid)
            else:
                self.endpoints.seen(endpoint)
                self.courier.endpoint_seen(endpoint)
        elif plural == WebhookDelivery.KIND.plural:
            delivery = from_body(WebhookDelivery, copy.deepcopy(body))
            (self.courier.delivery_gone if event == "DELETED" else self.courier.delivery_seen)(lean(delivery))

    def put_secret(self, name: str = "hook", value: str = SECRET) -> None:
        data = {"secret": base64.b64encode(value.encode()).decode()}
        self.kube.put(SECRET_KIND, {"metadata": {"name": name, "namespace": NAMESPACE}, "data": data})

    def put(self, body: dict[str, Any], kind: Kind = WebhookEndpoint.KIND) -> WebhookEndpoint:
        return from_body(WebhookEndpoint, self.kube.put(kind, body))

    def put_delivery(self, delivery: WebhookDelivery) -> None:
        body = to_body(delivery)
        body["spec"]["createdAt"] = delivery.spec.created_at.isoformat()
        body["status"] = {**body.get("status", {}), "phase": delivery.status.phase.value}
        self.kube.put(WebhookDelivery.KIND, body)

    def read(self, delivery: WebhookDelivery) -> WebhookDelivery:
        """Return what a watch would bring of it now."""
        return lean(
            from_body(WebhookDelivery, copy.deepcopy(self.kube.objects[WebhookDelivery.KIND.plural, *delivery.key]))
        )

    def status(self, delivery: WebhookDelivery) -> dict[str, Any]:
        found: dict[str, Any] = self.kube.objects[WebhookDelivery.KIND.plural, *delivery.key]["status"]
        return found

    def endpoint_status(self, name: str = "hook") -> dict[str, Any]:
        found: dict[str, Any] = self.kube.objects[WebhookEndpoint.KIND.plural, NAMESPACE, name].get("status", {})
        return found

    def break_writes(self, times: int) -> None:
        for _ in range(times):
            self.kube.fail("patch", WebhookDelivery.KIND.plural, KubeError("away", status=503))
