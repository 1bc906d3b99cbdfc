"""The hook's settings, read once at start from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from driftstack_common.logging import Level
from driftstack_common.names import BROWSER_NAMESPACE, SYSTEM_NAMESPACE


class Settings(BaseSettings):
    """Settings, each `DRIFTSTACK_UNINSTALL_<NAME>`.

    Attributes:
        kubeconfig: file to reach the cluster from outside; None uses the pod's service account.
        seconds: most that is waited for the operator to end the sessions.
    """

    model_config = SettingsConfigDict(env_prefix="DRIFTSTACK_UNINSTALL_", frozen=True)

    kubeconfig: Path | None = None
    system_namespace: str = SYSTEM_NAMESPACE
    browser_namespace: str = BROWSER_NAMESPACE
    seconds: Annotated[int, Field(ge=0)] = 120
    log_level: Level = "info"
