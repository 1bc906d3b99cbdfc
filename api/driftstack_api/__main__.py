"""`driftstack-api`: run the facade."""

from __future__ import annotations

import asyncio
import sys

import uvicorn
import uvloop
from prometheus_client import start_http_server

from driftstack_api.main import create_app
from driftstack_api.settings import Settings, load_settings
from driftstack_api.wire import http_protocol
from driftstack_common.errors import DriftstackError
from driftstack_common.logging import configure_logging

GRACE_SECONDS = 30
"""How long steps under way may still take after SIGTERM."""
KEEP_ALIVE_SECONDS = 75


def main() -> None:
    """Serve until SIGTERM; exit 2 when the settings can't work."""
    try:
        settings = load_settings()
    except DriftstackError as error:
        sys.exit(f"driftstack-api: {error}")
    configure_logging(settings.log_level, json=settings.log_format == "json")
    start_http_server(settings.metrics_port, settings.host)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(_serve(settings)))


async def _serve(settings: Settings) -> int:
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            http=http_protocol(settings.problem_type_base),
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    await server.serve()
    return 0 if server.started else 3


if __name__ == "__main__":
    main()
