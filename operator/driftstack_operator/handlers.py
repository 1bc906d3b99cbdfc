"""kopf's handlers: each passes one event on.

Nothing is decided or awaited here: kopf drops a failed `on.event` handler, and holds an object's next event back
while one runs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import kopf
from aiohttp import ClientMiddlewareType

from driftstack_common.kinds import Account, Archetype, Pool, Session
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import BINDING, NODE, POD, QUOTA, KubeClient
from driftstack_common.names import APP_BROWSER, GROUP, LABEL_ACCOUNT, LABEL_APP
from driftstack_operator.intake import Intake
from driftstack_operator.stateless import NoDifferences, NoProgress

Take = Callable[..., None]
Handlers = list[tuple[Kind, Take]]

POD_SELECTOR: Final = f"{LABEL_APP}={APP_BROWSER}"
ACCOUNT_SELECTOR: Final = LABEL_ACCOUNT
"""Of quotas and role bindings."""

NEVER: Final = 86_400.0
CHUNK: Final = 100
"""Objects per page of kopf's LISTs."""
WORKER_IDLE: Final = 0.5
"""Seconds for which kopf keeps an object's worker, and its last body, after an event."""
SLOWEST: Final = 15.0
"""Seconds that an API server in trouble may take to answer."""


def cluster_handlers(intake: Intake) -> Handlers:
    """Return what is watched in all namespaces."""
    return [
        (Session.KIND, intake.session),
        (Account.KIND, intake.account),
        (Archetype.KIND, intake.archetype),
        (QUOTA, intake.quota),
        (BINDING, intake.binding),
        (NODE, intake.node),
    ]


def browser_handlers(intake: Intake) -> Handlers:
    """Return what is watched in the browser namespace alone, where the operator's rights on pods end."""
    return [(POD, intake.pod), (Pool.KIND, intake.pool)]


def registry_of(
    handlers: Handlers, kube: KubeClient, observe: ClientMiddlewareType, watch_seconds: int
) -> kopf.OperatorRegistry:
    """Return a registry with one handler per kind, the start-up settings, and our own connections.

    Args:
        observe: sees every request of kopf.
        watch_seconds: after this time the API server is to end each watch.
    """
    registry = kopf.OperatorRegistry()
    for kind, take in handlers:
        kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=kind.plural)(_handler(take))
    kopf.on.startup(registry=registry, id="settings")(configure_for(watch_seconds))
    kopf.on.login(registry=registry, id="login")(login_of(kube, observe))
    return registry


def _handler(take: Take) -> Any:
    async def handle(event: Any, **_: Any) -> None:
        take(event["object"], deleted=event["type"] == "DELETED")

    return handle


class Pauses:
    """Seconds between kopf's attempts at one request, without end: kopf stops for good after a last one."""

    def __iter__(self) -> Iterator[float]:
        while True:
            yield random.uniform(0.4, 0.8)  # noqa: S311 - spreads load, guards nothing


def configure_for(watch_seconds: int) -> Any:
    """Return a start-up handler that sets kopf up as a watcher and nothing else."""

    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.peering.standalone = True
        settings.scanning.disabled = True
        settings.watching.server_timeout = watch_seconds
        # Bodies that wait for their turn, or in idle workers, are most of the memory that an object costs.
        settings.watching.chunk_size = CHUNK
        settings.queueing.idle_timeout = WORKER_IDLE
        # What cuts a stream that does not end is `observe`: these count the time to connect as well, and a slow
        # server may take long for that.
        settings.watching.client_timeout = watch_seconds + SLOWEST
        # kopf's own clock for this cancels whatever the task is at, which need not be its stream.
        settings.watching.inactivity_timeout = NEVER
        settings.watching.connect_timeout = settings.networking.connect_timeout = SLOWEST
        settings.networking.request_timeout = SLOWEST
        settings.networking.error_backoffs = Pauses()
        settings.watching.label_selectors[POD.version, POD.plural] = POD_SELECTOR
        settings.watching.label_selectors[QUOTA.version, QUOTA.plural] = ACCOUNT_SELECTOR
        settings.watching.label_selectors[BINDING.api_version, BINDING.plural] = ACCOUNT_SELECTOR
        settings.process.ultimate_exiting_timeout = None  # the kubelet's grace period is the last resort
        # kopf removes its own finalizer wherever no handler needs one: it must never take ours for it.
        settings.persistence.finalizer = f"{GROUP}/kopf"
        # Its copies of each object, one per event, would be most of what this process does.
        settings.persistence.diffbase_storage = NoDifferences()
        settings.persistence.progress_storage = NoProgress()

    return configure


def login_of(kube: KubeClient, observe: ClientMiddlewareType) -> Any:
    """Return kopf's login handler: a session of this client, whose requests are observed."""

    async def login(**_: Any) -> kopf.AiohttpSession:
        # Called again whenever the API server answers 401; kopf has closed the session before by then.
        return kopf.AiohttpSession(aiohttp_session=kube.open_session(observe), server=kube.host)

    return login
