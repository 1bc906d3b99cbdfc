"""The facade's settings, from the variables `DRIFTSTACK_API_…` and `DRIFTSTACK_TIERS`, read once at start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, InstanceOf, IPvAnyNetwork, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from driftstack_common.errors import SettingsError
from driftstack_common.kinds import Tier
from driftstack_common.names import SYSTEM_NAMESPACE
from driftstack_common.tiers import TierLimits, read_tiers
from driftstack_common.webhooks.targets import Rules

PREFIX: Final = "DRIFTSTACK_API_"


class Settings(BaseSettings):
    """What an administrator can set.

    Attributes:
        kubeconfig: a file; None uses the pod's own service account.
        agent_keys: folder of the mounted Secret with the keys of the agents' tokens.
        connect_keys: folder of the mounted Secret with the keys of connect URLs' tokens.
        public_url: what callers call this service by, `https://…`, for the URLs it gives them; None goes by each
            request's own Host and scheme.
        system_namespace: where the catalogue of archetypes is.
        tiers: what each tier allows, `DRIFTSTACK_TIERS`; the operator has the same table.
        redis: folder of a mounted Secret, see rate_limits.shared; None counts calls in each replica by itself.
        problem_type_base: what `type` of every problem begins with.
        fresh_seconds: a cache whose watch has proven itself within this time is trusted; see `/readyz`. Watches do
            so every 2 s.
        webhooks: whether there is a dispatcher; without, nothing can be sent to an endpoint.
        webhook_allow_http, webhook_allow_private, webhook_refused_networks: where webhooks may point to, see
            driftstack_common.webhooks.targets.Rules; the dispatcher has the same.
        failpoints: for tests only; lets anybody who reaches the facade kill or freeze the process.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, populate_by_name=True)

    host: str = "0.0.0.0"
    port: int = Field(default=8000, ge=0, le=65535)
    metrics_port: int = Field(default=9090, ge=0, le=65535)
    kubeconfig: Path | None = None
    agent_keys: Path = Path("/etc/driftstack/agent-keys")
    connect_keys: Path = Path("/etc/driftstack/connect-keys")
    public_url: str | None = Field(default=None, pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$")
    system_namespace: str = SYSTEM_NAMESPACE
    tiers: Annotated[
        dict[Tier, InstanceOf[TierLimits]], BeforeValidator(read_tiers), Field(validation_alias="DRIFTSTACK_TIERS")
    ] = {}  # what is not mentioned has its default
    redis: Path | None = None
    problem_type_base: str = Field(default="https://errors.driftstack.dev/", pattern=r"^https?://.+/$")
    fresh_seconds: float = Field(default=4.0, gt=0)
    webhooks: bool = True
    webhook_allow_http: bool = False
    webhook_allow_private: bool = False
    webhook_refused_networks: list[IPvAnyNetwork] = []
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    failpoints: bool = False

    @property
    def webhook_rules(self) -> Rules:
        """Where webhooks may point to."""
        return Rules(
            allow_http=self.webhook_allow_http,
            allow_private=self.webhook_allow_private,
            refused=tuple(self.webhook_refused_networks),
        )


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: a value can't work, or a variable with our prefix names no setting.
    """
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(f"no such setting: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(f"{_variable(e['loc'][0])}: {e['msg']}" for e in error.errors())) from error


def _variable(name: int | str) -> str:
    """Return the environment variable of a setting; an alias is one already."""
    return str(name) if name == "DRIFTSTACK_TIERS" else f"{PREFIX}{str(name).upper()}"
