"""Entry point of the dispatcher: `python -m driftstack_operator.webhooks`, settings from the environment."""

from __future__ import annotations

import sys

import uvloop

from driftstack_common.errors import DriftstackError
from driftstack_common.logging import configure_logging, get_logger
from driftstack_operator.webhooks.app import run
from driftstack_operator.webhooks.settings import load_settings


def main() -> int:
    """Run until told to stop; return the exit code, 1 when the configuration can't work or a part failed."""
    configure_logging()
    logger = get_logger("driftstack_operator.webhooks")
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        uvloop.run(run(settings))
    except DriftstackError as error:
        logger.error("dispatcher can't run", error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
