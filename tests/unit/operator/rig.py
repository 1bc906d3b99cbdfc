"""The whole operator but kopf, on fakes: what it would do in a cluster, step by step and in no time."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable
from secrets import token_hex
from typing import Any

from driftstack_common.agent_token import KeyRing
from driftstack_common.kinds import Account, Archetype, Pool, Record, Session, WebhookEndpoint
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import BINDING, LEASE, NAMESPACE, NODE, POD, QUOTA
from driftstack_common.names import (
    LABEL_STATE,
    QUOTA_NAME,
    SESSION_QUOTA,
    STATE_WARM,
    SYSTEM_NAMESPACE,
    browser_pod_name,
)
from driftstack_operator.app import Operator
from driftstack_operator.leadership.elector import Elector
from driftstack_operator.leadership.lease import NAME
from driftstack_operator.settings import load_settings
from tests.unit.operator.builders import (
    ACCOUNT,
    UID,
    Body,
    account_body,
    archetype_body,
    pool_body,
    session_body,
)
from tests.unit.operator.builders import (
    NAMESPACE as ACCOUNT_NAMESPACE,
)
from tests.unit.operator.fakes import FakeAgents, FakeKube

BROWSERS = "driftstack-browsers"
KEYS = KeyRing({"k1": b"0123456789abcdef0123456789abcdef"})
RUNNING: Body = {
    "phase": "Running",
    "podIP": "10.0.0.1",
    "containerStatuses": [{"name": "browser", "state": {"running": {}}}],
}


Deliver = Callable[[str, str, Body], None]
"""Takes a watch event: plural, type and body."""


class Rig:
    """An API server with an account, its namespace and quota, a pool and an archetype; and an operator on it.

    Attributes:
        wire: carries each watch event to the operator; a test's own may be late, or lose some.
    """

    def __init__(
        self, *, cap: int = 8, agents: FakeAgents | None = None, pool: Body | None = None, **settings: Any
    ) -> None:
        self.kube = FakeKube()
        self.agents = agents or FakeAgents()
        self.wire: Callable[[Deliver, str, str, Body], None] = lambda deliver, *message: deliver(*message)
        at_once = {"last_words_seconds": 0, "node_patience_seconds": 0, "refill_quiet_seconds": 0}
        self.settings = load_settings(**{**at_once, **settings})
        self.lease_clock = 0.0
        self._addresses = itertools.count(1)
        self.kube.put(
            NAMESPACE, {"metadata": {"name": ACCOUNT_NAMESPACE, "labels": {"driftstack.dev/account": ACCOUNT}}}
        )
        self.kube.put(NODE, {"metadata": {"name": "local"}, "status": {}})
        self.kube.put(Pool.KIND, pool_body(**(pool or {})))
        self.kube.put(Archetype.KIND, archetype_body())
        self.kube.put(Account.KIND, account_body(tier="enterprise", overrides={"concurrentSessions": cap}))
        self.kube.watchers.append(self._count)
        self.operator = self._start()

    def _start(self) -> Operator:
        elector = Elector(
            self.kube,
            namespace=SYSTEM_NAMESPACE,
            identity=token_hex(4),
            seconds=self.settings.lease_seconds,
            clock=lambda: self.lease_clock,
        )
        operator = Operator(self.kube, self.agents, KEYS, self.settings, elector=elector)
        intake = operator.intake
        takers: dict[str, Callable[..., object]] = {
            Session.KIND.plural: intake.session,
            Account.KIND.plural: intake.account,
            BINDING.plural: intake.binding,
            Archetype.KIND.plural: intake.archetype,
            Pool.KIND.plural: intake.pool,
            POD.plural: intake.pod,
            NODE.plural: intake.node,
            QUOTA.plural: intake.quota,
            WebhookEndpoint.KIND.plural: lambda body, deleted: operator.outbox._reflector._take(
                {"type": "DELETED" if deleted else "MODIFIED", "object": body}
            ),
        }

        def deliver(plural: str, event: str, body: Body) -> None:
            if plural in takers:
                takers[plural](body, deleted=event == "DELETED")

        self.kube.watchers[:] = [self._count, lambda *message: self.wire(deliver, *message)]
        return operator

    def _count(self, plural: str, event: str, body: Body) -> None:
        """The quota controller: says what is charged as soon as a quota is there."""
        if plural == QUOTA.plural and "status" not in body:
            hard = body["spec"]["hard"]
            status = {"hard": hard, "used": {SESSION_QUOTA: "0"}}
            self.kube.change(QUOTA, body["metadata"]["namespace"], QUOTA_NAME, **status)

    async def lead(self) -> None:
        """The operator becomes the leader."""
        assert await self.operator.elector.attempt() is None
        self.operator.begin()
        endpoints = self.operator.outbox._reflector
        await endpoints._list()
        endpoints._proven_at = math.inf  # its watch is the test's, and never breaks off

    async def prime(self) -> None:
        """The operator becomes the leader and knows all that there is."""
        await self.lead()
        await self.operator.sweep.prime(asyncio.Event())
        self.operator.health.primed = True

    async def restart(self) -> None:
        """The operator dies on the spot; when its lease has run out, another one takes over."""
        await self.operator.close()
        self.lease_clock += 60
        self.kube.objects.pop((LEASE.plural, SYSTEM_NAMESPACE, NAME), None)
        self.operator = self._start()
        await self.prime()

    async def settle(self) -> None:
        """Work until nothing is due any more, claims in progress included."""
        queue = self.operator.queue
        quiet = 0
        while quiet < 3:
            while queue.depth:
                quiet = 0
                await queue.work_on(queue.take())
            await asyncio.sleep(0)
            quiet += 1

    def create(self, name: str = "one", uid: str = UID, **values: Any) -> Body:
        return self.kube.put(Session.KIND, session_body(name, uid=uid, **values))

    def run_pod(self, uid: str = UID, node: str = "local", **status: Any) -> None:
        """The kubelet starts the pod."""
        self.kube.objects[_pod(uid)]["spec"]["nodeName"] = node
        self.kube.change(POD, BROWSERS, browser_pod_name(uid), **{**RUNNING, **status})

    def warm_pods(self) -> list[Body]:
        """Return the pods that are labelled warm, oldest first."""
        return [pod for pod in self.kube.all(POD) if pod["metadata"]["labels"][LABEL_STATE] == STATE_WARM]

    def run_warm_pods(self, node: str = "local") -> None:
        """The kubelet starts the warm pods that have no node yet, each with an address of its own."""
        for pod in self.warm_pods():
            if not pod["spec"].get("nodeName"):
                pod["spec"]["nodeName"] = node
                address = f"10.1.0.{next(self._addresses)}"
                self.kube.change(POD, BROWSERS, pod["metadata"]["name"], **{**RUNNING, "podIP": address})

    async def warm(self) -> list[Body]:
        """Return the warm pods once the pool is full."""
        await self.settle()
        while any(not pod["spec"].get("nodeName") for pod in self.warm_pods()):
            self.run_warm_pods()
            await self.settle()
        return self.warm_pods()

    async def sweep_all(self) -> None:
        """The half minute is over: everything is looked at."""
        await self.operator.sweep.list_all()
        await self.operator.sweep.touch_all()
        await self.settle()

    async def tell_pools(self) -> None:
        """The pools' statuses are due."""
        for memory in self.operator.pools.memories._memories.values():
            memory.written_at = -math.inf
        await self.sweep_all()

    def pool(self) -> Body:
        """Return the pool `default`."""
        return self.kube.objects[(Pool.KIND.plural, BROWSERS, "default")]

    def change_pool(self, **spec: Any) -> None:
        """Somebody changes the pool's spec."""
        pool = self.pool()
        pool["spec"] = {**pool["spec"], **spec}
        pool["metadata"]["generation"] = pool["metadata"].get("generation", 1) + 1
        self.kube.change(Pool.KIND, BROWSERS, "default")

    def end_pod(self, uid: str = UID, **state: Any) -> None:
        """The pod's container ends."""
        self.kube.change(
            POD,
            BROWSERS,
            browser_pod_name(uid),
            phase="Failed",
            containerStatuses=[{"name": "browser", "state": state}],
        )

    async def ready(self, name: str = "one", uid: str = UID) -> None:
        self.create(name, uid)
        await self.settle()
        self.run_pod(uid)
        await self.settle()

    def session(self, name: str = "one") -> Body | None:
        return self.kube.objects.get((Session.KIND.plural, ACCOUNT_NAMESPACE, name))

    def pod(self, uid: str = UID) -> Body | None:
        return self.kube.objects.get(_pod(uid))

    def record(self, uid: str = UID) -> Body | None:
        return self.kube.objects.get((Record.KIND.plural, ACCOUNT_NAMESPACE, uid))

    def writes(self, *kinds: Kind) -> list[tuple[str, str]]:
        """Return verb and plural of every write so far."""
        wanted = {kind.plural for kind in kinds or (Session.KIND, Record.KIND, POD)}
        return [(verb, plural) for verb, plural, _ in self.kube.calls if plural in wanted]


def _pod(uid: str) -> tuple[str, str, str]:
    return POD.plural, BROWSERS, browser_pod_name(uid)
