"""The dispatcher's settings, read once at start from the environment; unknown ones are refused."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from driftstack_common.logging import Level
from driftstack_common.names import SYSTEM_NAMESPACE
from driftstack_common.webhooks.targets import Rules
from driftstack_operator.settings import Port, load

PREFIX: Final = "DRIFTSTACK_WEBHOOKS_"


class Settings(BaseSettings):
    """Settings, each `DRIFTSTACK_WEBHOOKS_<NAME>`.

    Attributes:
        kubeconfig: file to reach the cluster from outside; None uses the pod's service account.
        replicas: how many dispatchers share the work.
        allow_http, allow_private: for development; see targets.Rules.
        refused_networks: JSON list of networks that are refused beyond the special ones.
        waiting_days: age at which a delivery that could not be sent (its endpoint is paused) is given up.
        probe_port, metrics_port: 0 takes any free port.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    kubeconfig: Path | None = None
    system_namespace: str = SYSTEM_NAMESPACE
    replicas: Annotated[int, Field(ge=1)] = 2
    allow_http: bool = False
    allow_private: bool = False
    refused_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    waiting_days: Annotated[float, Field(gt=0)] = 7.0
    probe_port: Port = 8080
    metrics_port: Port = 9090
    log_level: Level = "info"

    @property
    def rules(self) -> Rules:
        """Where deliveries may go."""
        return Rules(allow_http=self.allow_http, allow_private=self.allow_private, refused=self.refused_networks)


def load_settings(**overrides: Any) -> Settings:
    """Read the environment.

    Raises:
        SettingsError: a value can't work, or a variable with our prefix means nothing.
    """
    return load(Settings, PREFIX, **overrides)
