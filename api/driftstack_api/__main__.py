"""`driftstack-api`: run the facade."""

from __future__ import annotations

import asyncio
import gc
import sys

import uvicorn
import uvloop
from prometheus_client import start_http_server

from driftstack_api.main import connect, create_app
from driftstack_api.settings import Settings, load_settings
from driftstack_api.wire import http_protocol
from driftstack_common.errors import DriftstackError
from driftstack_common.logging import configure_logging

GRACE_SECONDS = 30
"""How long steps under way may still take after SIGTERM."""
KEEP_ALIVE_SECONDS = 75


def main() -> None:
    """Serve until SIGTERM; exit 2, with one line that says why, when the settings can't work."""
    try:
        settings = load_settings()
        configure_logging(settings.log_level, json=settings.log_format == "json")
        start_http_server(settings.metrics_port, settings.host)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            served = runner.run(_serve(settings))
    except (DriftstackError, OSError) as error:
        print(f"driftstack-api: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if served else 3)


async def _serve(settings: Settings) -> bool:
    """Serve; return whether it ever got as far as listening."""
    async with connect(settings) as dependencies:
        config = uvicorn.Config(
            create_app(settings, dependencies),
            host=settings.host,
            port=settings.port,
            http=http_protocol(settings.problem_type_base),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        server = uvicorn.Server(config)
        # Modules stay for ever: scanning them takes a tenth of a second, in which nobody is answered.
        gc.freeze()
        await server.serve()
        return server.started


if __name__ == "__main__":
    main()
