"""Logs as JSON lines on standard output: ours through structlog, and what libraries log through `logging`.

One line is one object: `timestamp`, `level`, `logger`, `event`, and the fields bound to it (session, account, …).
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, Literal

import msgspec
import structlog
from structlog.typing import EventDict, Processor

Level = Literal["debug", "info", "warning", "error"]

NOISY: Final = {
    # An access line per request is the caller's to write, with the request's id.
    "aiohttp.access": logging.WARNING,
    "uvicorn.access": logging.WARNING,
    # kopf's own chatter about each object and each reconnection of a watch.
    "kopf.objects": logging.WARNING,
    # A line per attempt while the API server is away; the operator says itself when a watch breaks off.
    "kopf._cogs.clients.watching": logging.CRITICAL,
    "asyncio": logging.WARNING,
    "kubernetes.aio.client.rest": logging.WARNING,
}
"""Loggers of libraries that say too much at info, and the level that is left of them."""


def configure_logging(level: Level = "info", *, json: bool = True) -> None:
    """Set up structlog and the root logger; call it once, at start, before anything logs.

    Args:
        json: False prints for people (a terminal).
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(json)],
        )
    )
    _take_over(handler, level)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module (`get_logger(__name__)`)."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _renderers(json: bool) -> list[Processor]:
    if not json:
        # Its own tracebacks show local variables, and those hold keys and bodies.
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_dump),
    ]


def _dump(event: EventDict, **_: Any) -> str:
    # `str` for what JSON doesn't know (paths, exceptions, enums of libraries): a log line must never fail.
    return msgspec.json.encode(event, enc_hook=str).decode(errors="replace")


def _take_over(handler: logging.Handler, level: Level) -> None:
    """Make the root logger the only one with a handler, so that no library prints a second, plain line."""
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in list(logging.root.manager.loggerDict):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    for name, least in NOISY.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    logging.captureWarnings(True)
