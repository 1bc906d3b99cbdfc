"""How a process is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable


def take_signals(stop: Callable[[], None]) -> None:
    """Have SIGTERM and SIGINT call this, in the running loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
