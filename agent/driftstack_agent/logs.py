"""One JSON line per event on standard output.

No page content, no token, and of a URL only what `shown_url` leaves. The standard library's logging, because it is
in memory anyway (asyncio), with a formatter on the JSON encoder that is there too.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, Final

import msgspec

from driftstack_common.times import format_time, now

_logger: Final = logging.getLogger("driftstack.agent")
_URL: Final = re.compile(r"^([a-z][a-z0-9+.-]*:)(//)?(?:[^/?#]*@)?([^?#]*)", re.IGNORECASE)
_SHOWN: Final = 200


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object: time, level, event, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback, if any, is in `exception`."""
        line: dict[str, Any] = {
            "time": format_time(now()),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def setup() -> None:
    """Send all logging to standard output as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def info(event: str, **fields: Any) -> None:
    """Log something that happened."""
    _logger.info(event, extra={"fields": fields})


def error(event: str, *, trace: bool = False, **fields: Any) -> None:
    """Log a failure; trace adds the current exception's traceback."""
    _logger.error(event, exc_info=trace, extra={"fields": fields})


def shown_url(url: str) -> str:
    """Return a URL for people: without user, password, query and fragment, and not too long."""
    match = _URL.match(url)
    if match is None:
        return "(not a URL)"
    scheme, slashes, rest = match.group(1), match.group(2) or "", match.group(3)
    return f"{scheme}{slashes}{rest}"[:_SHOWN]
