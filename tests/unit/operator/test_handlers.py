"""kopf's side: what is watched, how it logs in, and that events are only passed on."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import aiohttp
import kopf
from kopf._cogs.structs.references import Resource
from kopf._core.actions.lifecycles import all_at_once
from kopf._core.engines.indexing import OperatorIndexers
from kopf._core.reactor.inventory import ResourceMemories
from kopf._core.reactor.processing import process_resource_event
from kubernetes.aio.client import Configuration

from driftstack_common.kube.client import KubeClient
from driftstack_common.names import ACCOUNT_FINALIZER, FINALIZER
from driftstack_operator.handlers import browser_handlers, cluster_handlers, configure_for, login_of, registry_of
from driftstack_operator.intake import Intake
from driftstack_operator.sessions.tracks import Tracks
from driftstack_operator.store import Store
from driftstack_operator.watching import WATCHED
from tests.unit.operator.builders import ACCOUNT, UID, pod_body, session_body


async def observe(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    return await handler(request)


class Touched:
    """Notes what is touched."""

    def __init__(self) -> None:
        self.sessions: list[str] = []
        self.limits: list[str] = []

    def touch_session(self, uid: str) -> None:
        self.sessions.append(uid)

    def touch_account(self, name: str) -> None:
        raise AssertionError(name)

    def touch_limits(self, name: str) -> None:
        self.limits.append(name)

    def touch_pool(self, name: str) -> None:
        raise AssertionError(name)

    def touch_waiting(self, namespace: str = "") -> None:
        raise AssertionError(namespace)

    def session_gone(self, session: Any) -> None:
        self.sessions.append(f"gone {session.uid}")


def intake(touched: Touched) -> Intake:
    return Intake(Store(), Tracks(), touched)


async def test_kopf_uses_a_session_of_the_client_and_a_new_one_with_each_login() -> None:
    kube = KubeClient(Configuration(host="https://10.96.0.1:443"))
    login = login_of(kube, observe)
    one, other = await login(), await login()
    assert one.server == "https://10.96.0.1:443"
    assert one.aiohttp_session is not other.aiohttp_session
    for connection in (one, other):
        await connection.aiohttp_session.close()
    await kube.close()


async def test_kopf_never_takes_our_finalizers_for_its_own() -> None:
    settings = kopf.OperatorSettings()
    await configure_for(3)(settings)
    assert settings.persistence.finalizer not in (FINALIZER, ACCOUNT_FINALIZER)
    assert settings.peering.standalone is True
    assert settings.posting.enabled is False
    assert settings.scanning.disabled is True


class Uncopied(dict[str, Any]):
    """A body that must not be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise AssertionError("kopf copies a body")


async def test_kopf_copies_no_body() -> None:
    handled = []
    registry = kopf.OperatorRegistry()

    async def handle(event: Any, **_: Any) -> None:
        handled.append(event["object"]["metadata"]["uid"])

    kopf.on.event("", "v1", "pods", registry=registry, id="pods")(handle)
    settings = kopf.OperatorSettings()
    await configure_for(3)(settings)
    await process_resource_event(
        lifecycle=all_at_once,
        indexers=OperatorIndexers(),
        registry=registry,
        settings=settings,
        memories=ResourceMemories(),
        memobase=kopf.Memo(),
        resource=Resource("", "v1", "pods", kind="Pod", verbs=frozenset({"list", "watch", "patch"})),
        raw_event={"type": "MODIFIED", "object": {**pod_body(), "spec": Uncopied()}},  # type: ignore[typeddict-item]
        event_queue=asyncio.Queue(),
    )
    assert handled == [f"pod-of-{UID}"]


async def test_kopf_holds_few_bodies_at_a_time() -> None:
    settings = kopf.OperatorSettings()
    await configure_for(3)(settings)
    assert settings.watching.chunk_size == 100
    assert settings.queueing.idle_timeout < 1


async def test_kopf_tries_for_ever_and_often() -> None:
    settings = kopf.OperatorSettings()
    await configure_for(3)(settings)
    pauses = settings.networking.error_backoffs
    assert not isinstance(pauses, float)
    assert all(pause < 1 for pause in itertools.islice(pauses, 1000))
    assert settings.watching.server_timeout == 3


def test_every_kind_has_a_handler_that_writes_nothing() -> None:
    touched = intake(Touched())
    handlers = cluster_handlers(touched) + browser_handlers(touched)
    registry = registry_of(handlers, KubeClient(Configuration()), observe, 3)
    watched = {handler.id for handler in registry._watching.get_all_handlers()}
    assert watched == {
        "browsersessions",
        "accounts",
        "archetypes",
        "resourcequotas",
        "rolebindings",
        "nodes",
        "pods",
        "browserpools",
    }
    assert watched == set(WATCHED)
    assert list(registry._changing.get_all_handlers()) == []


def test_events_end_in_the_work_queue() -> None:
    touched = Touched()
    observed = intake(touched)
    observed.session(session_body(), deleted=False)
    observed.session(session_body(), deleted=False)
    observed.session(session_body(), deleted=True)
    observed.session(session_body(), deleted=True)
    assert touched.sessions == [UID, UID, f"gone {UID}"]
    assert touched.limits == [ACCOUNT], "a session that is new is one more to count, once"
