"""HTTP endpoints of operator and dispatcher: probes for kubelets, metrics for Prometheus, failpoints for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from driftstack_common.errors import SettingsError
from driftstack_common.failpoints import Arm, Failpoints

STOP_SECONDS: Final = 0.5


class Health(Protocol):
    """What the probes ask."""

    @property
    def primed(self) -> bool:
        """Whether the first LISTs are there."""

    def stale(self) -> list[str]:
        """Return the kinds of which changes may be missing."""

    def problems(self) -> list[str]:
        """Return why the process should be restarted."""


class Metrics(Protocol):
    """What is shown."""

    @property
    def registry(self) -> CollectorRegistry:
        """All of it."""


class Ports(Protocol):
    """Where; 0 takes any free port."""

    @property
    def probe_port(self) -> int:
        """For the kubelet."""

    @property
    def metrics_port(self) -> int:
        """For Prometheus."""


class Probes:
    """Serves health and metrics, each on its port.

    Args:
        health: what to answer.
        metrics: what to show.
        settings: the ports.
        failpoints: can be armed and read on the probe port; None has no such thing.
    """

    def __init__(
        self, health: Health, metrics: Metrics, settings: Ports, failpoints: Failpoints | None = None
    ) -> None:
        self._health = health
        self._metrics = metrics
        self._settings = settings
        self._failpoints = failpoints

    def applications(self) -> tuple[web.Application, web.Application]:
        """Return the applications of the probe port and the metrics port."""
        probes, metrics = web.Application(), web.Application()
        probes.add_routes([web.get("/healthz", self.healthz), web.get("/readyz", self.readyz)])
        metrics.add_routes([web.get("/metrics", self._show)])
        if self._failpoints is not None:
            probes.add_routes(_failpoints(self._failpoints))
        return probes, metrics

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve while in the context.

        Raises:
            SettingsError: a port is taken.
        """
        probes, metrics = self.applications()
        async with AsyncExitStack() as stack:
            await self._listen(stack, probes, self._settings.probe_port)
            await self._listen(stack, metrics, self._settings.metrics_port)
            yield

    async def _listen(self, stack: AsyncExitStack, application: web.Application, port: int) -> None:
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOP_SECONDS)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        try:
            await web.TCPSite(runner, port=port).start()
        except OSError as error:
            raise SettingsError(f"cannot listen on port {port}: {error}") from error

    async def healthz(self, _: web.Request) -> web.Response:
        """Answer the liveness probe."""
        problems = self._health.problems()
        return web.json_response({"problems": problems}, status=503 if problems else 200)

    async def readyz(self, _: web.Request) -> web.Response:
        """Answer the readiness probe."""
        primed, stale = self._health.primed, self._health.stale()
        return web.json_response({"primed": primed, "stale": stale}, status=200 if primed and not stale else 503)

    async def _show(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )


def _failpoints(points: Failpoints) -> list[web.RouteDef]:
    async def show(_: web.Request) -> web.Response:
        return web.json_response(points.tell())

    async def arm(request: web.Request) -> web.Response:
        try:
            points.arm(request.match_info["name"], Arm.parse(await request.read()))
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.json_response(points.tell())

    return [web.get("/failpoints", show), web.put("/failpoints/{name:.+}", arm)]
