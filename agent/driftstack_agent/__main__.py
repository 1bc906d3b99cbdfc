"""Starts the agent: the token first, then Chromium, then everything else beside it."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from driftstack_agent import chromium, hardening
from driftstack_agent.settings import TOKEN, InvalidSettings, Settings


def main() -> None:
    """Run the agent; exits with the code of its end (see app.EXIT_CODES)."""
    # PID 1 ignores every signal it has no handler for; the real handlers come with the event loop.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    try:
        settings = Settings.load(os.environ)
    except InvalidSettings as error:
        sys.exit(f"driftstack-agent: {error}")
    hardening.forget_environment(TOKEN)
    hardening.harden()
    hardening.return_freed_memory()
    try:
        process = chromium.spawn(settings)
    except OSError as error:
        _start_failed(settings, error)

    # Imported only now, while Chromium starts.
    from driftstack_agent.app import run

    sys.exit(run(settings, process))


def _start_failed(settings: Settings, error: OSError) -> NoReturn:
    from driftstack_agent.app import write_termination
    from driftstack_common.protocol import EndReason, Termination

    message = f"cannot start {settings.chromium}: {error}"
    write_termination(settings.termination_log, Termination(reason=EndReason.START_FAILED, message=message))
    sys.exit(f"driftstack-agent: {message}")


if __name__ == "__main__":
    main()
