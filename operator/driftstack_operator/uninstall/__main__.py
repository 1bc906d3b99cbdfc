"""Entry point of the hook: `python -m driftstack_operator.uninstall`."""

from __future__ import annotations

import asyncio
import sys

from pydantic import ValidationError

from driftstack_common.errors import DriftstackError, SettingsError
from driftstack_common.kube.client import KubeClient
from driftstack_common.logging import configure_logging, get_logger
from driftstack_operator.uninstall.settings import Settings
from driftstack_operator.uninstall.steps import Uninstall

logger = get_logger("driftstack_operator.uninstall")


async def run(settings: Settings) -> None:
    """Prepare the removal of the chart."""
    kube = await KubeClient.connect(settings.kubeconfig)
    try:
        lost = await Uninstall(kube, settings).run()
    finally:
        await kube.close()
    logger.info("ready to be uninstalled", without_record=lost)


def main() -> int:
    """Return the exit code; with 1 the chart stays, and `helm uninstall --no-hooks` is the way out."""
    configure_logging()
    try:
        try:
            settings = Settings()
        except ValidationError as error:
            raise SettingsError(f"the settings can't work: {error}") from error
        configure_logging(settings.log_level)
        asyncio.run(run(settings))
    except DriftstackError as error:
        logger.error("can't prepare the removal", error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
