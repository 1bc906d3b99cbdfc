"""One JSON line per event on standard output.

The last lines outlive the pod, in the session's record. So nothing of a page may be in any: no content, no URL, no
text of an exception (Chromium's errors quote pages), no token. The standard library's logging, because it is in
memory anyway (asyncio), with a formatter on the JSON encoder that is there too.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections import deque
from types import TracebackType
from typing import Any, Final

import msgspec

from driftstack_common.times import format_time, now

_logger: Final = logging.getLogger("driftstack.agent")
_URL: Final = re.compile(r"^([a-z][a-z0-9+.-]*:)(//)?(?:[^/?#]*@)?([^?#]*)", re.IGNORECASE)
_SHOWN: Final = 200
TAIL_BYTES: Final = 2048
"""Most bytes of the log that a termination message carries."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object: time, level, event, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; of an exception, `exception` has its type and where it came from."""
        line: dict[str, Any] = {
            "time": format_time(now()),
            "level": record.levelname.lower(),
            # asyncio writes what it knows of a failed task below the first line.
            "event": record.getMessage().partition("\n")[0][:_SHOWN],
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = _described(record.exc_info[0], record.exc_info[2])
        return msgspec.json.encode(line).decode()


def _described(kind: type[BaseException], trace: TracebackType | None) -> str:
    return "".join([*traceback.format_tb(trace), kind.__name__])


class Tail(logging.Handler):
    """Keeps the last lines, as many as TAIL_BYTES take; one that is longer than that alone is left out."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque()
        self._bytes = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line in."""
        line = self.format(record)
        size = len(line.encode()) + 1
        if size > TAIL_BYTES:
            return
        self._lines.append(line)
        self._bytes += size
        while self._bytes > TAIL_BYTES:
            self._bytes -= len(self._lines.popleft().encode()) + 1

    def text(self) -> str:
        """Return the lines."""
        return "\n".join(self._lines)


_tail: Final = Tail()


def setup() -> None:
    """Send all logging to standard output as JSON, what would end the process included."""
    output = logging.StreamHandler(sys.stdout)
    for handler in (output, _tail):
        handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[output, _tail], force=True)
    sys.excepthook = lambda *failure: _logger.critical("failed", exc_info=failure)


def tail() -> str:
    """Return the last lines."""
    return _tail.text()


def info(event: str, **fields: Any) -> None:
    """Log something that happened."""
    _logger.info(event, extra={"fields": fields})


def error(event: str, *, trace: bool = False, **fields: Any) -> None:
    """Log a failure; trace adds the current exception's type and place."""
    _logger.error(event, exc_info=trace, extra={"fields": fields})


def shown_url(url: str) -> str:
    """Return a URL for people: without user, password, query and fragment, and not too long."""
    match = _URL.match(url)
    if match is None:
        return "(not a URL)"
    scheme, slashes, rest = match.group(1), match.group(2) or "", match.group(3)
    return f"{scheme}{slashes}{rest}"[:_SHOWN]
