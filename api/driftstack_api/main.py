"""The facade's application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from driftstack_api import account, failpoints, health, openapi, problems
from driftstack_api.agents import Agents
from driftstack_api.context import RequestContext
from driftstack_api.devtools import endpoints as devtools
from driftstack_api.keys import endpoints as key_endpoints
from driftstack_api.mounted_keys import MountedKeys
from driftstack_api.services import Dependencies, Services
from driftstack_api.sessions import endpoints, step_endpoints
from driftstack_api.settings import Settings
from driftstack_api.usage import endpoints as usage
from driftstack_api.webhooks import endpoints as webhook_endpoints
from driftstack_common.agent_client import AgentClient, open_session
from driftstack_common.errors import SettingsError
from driftstack_common.failpoints import Failpoints, WritePoints
from driftstack_common.kube.client import KubeClient
from driftstack_common.logging import get_logger

_log = get_logger(__name__)


def create_app(settings: Settings, dependencies: Dependencies | None = None) -> FastAPI:
    """Return the application.

    Args:
        dependencies: what it talks to; without them it can be described, but not started.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if dependencies is None:
            raise SettingsError("the application was made without anything to talk to")
        app.state.services = Services(settings, dependencies)
        async with _background(app.state.services):
            yield

    app = FastAPI(
        title="Driftstack",
        summary="Browser sessions on Kubernetes.",
        version=openapi.VERSION,
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        generate_unique_id_function=lambda route: route.name,
    )
    problems.install(app, settings.problem_type_base)
    openapi.install(
        app,
        settings.problem_type_base,
        bodies=(*endpoints.BODIES, *step_endpoints.BODIES, *key_endpoints.BODIES, *webhook_endpoints.BODIES),
        answers=(
            *endpoints.ANSWERS,
            *step_endpoints.ANSWERS,
            *key_endpoints.ANSWERS,
            *webhook_endpoints.ANSWERS,
            *account.ANSWERS,
            *usage.ANSWERS,
        ),
    )
    for router in (
        endpoints.router,
        step_endpoints.router,
        devtools.router,
        key_endpoints.router,
        webhook_endpoints.router,
        account.router,
        usage.router,
        health.router,
    ):
        app.include_router(router)
    if dependencies is not None and dependencies.failpoints is not None:
        app.include_router(failpoints.router_of(dependencies.failpoints))
    app.add_middleware(RequestContext, base=settings.problem_type_base)
    return app


@contextlib.asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Dependencies]:
    """Connect to the API server and make ready to call agents.

    Raises:
        SettingsError, Unreachable: what the settings name isn't there.
    """
    keys, connect_keys = MountedKeys.load(settings.agent_keys), MountedKeys.load(settings.connect_keys)
    kube = await KubeClient.connect(settings.kubeconfig)
    session = open_session()
    agents = AgentClient(session)
    try:
        if settings.failpoints:
            points = Failpoints()
            guard = WritePoints(points)
            guarded = Agents(agents.guarded(guard), keys)
            yield Dependencies(kube.guarded(guard), guarded, connect_keys, failpoints=points)
        else:
            yield Dependencies(kube, Agents(agents, keys), connect_keys)
    finally:
        await session.close()
        await kube.close()


@contextlib.asynccontextmanager
async def _background(services: Services) -> AsyncIterator[None]:
    task = asyncio.create_task(services.run(), name="caches")
    task.add_done_callback(_report)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


def _report(task: asyncio.Task[None]) -> None:
    # Reflectors retry for ever; if one dies all the same, /readyz fails as its copy ages.
    if not task.cancelled() and task.exception() is not None:
        _log.error("the caches stopped", exc_info=task.exception())
