"""The operator's settings, read once at start from the environment; unknown ones are refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import BeforeValidator, Field, InstanceOf, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from driftstack_common.errors import SettingsError
from driftstack_common.kinds import Tier
from driftstack_common.logging import Level
from driftstack_common.names import (
    ARCHETYPE_QUOTA,
    BROWSER_NAMESPACE,
    DEFAULT_POOL,
    KEY_QUOTA,
    SYSTEM_NAMESPACE,
    WEBHOOK_QUOTA,
)
from driftstack_common.tiers import TierLimits, read_tiers

PREFIX: Final = "DRIFTSTACK_OPERATOR_"

Seconds = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """Settings, each `DRIFTSTACK_OPERATOR_<NAME>`; the tiers are `DRIFTSTACK_TIERS`, JSON by tier.

    Attributes:
        kubeconfig: file to reach the cluster from outside; None uses the pod's service account.
        workers: reconciliations that run at once.
        start_timeout_seconds: a session that is not ready then is errored, StartTimeout or the known cause.
        stuck_seconds: how long a pod may show a cause that could still pass (no node has room, an image
            that can't be pulled at the first try) before its session is errored with that cause.
        surplus_seconds: how long a session beyond its account's cap waits for a slot.
        busy_check_seconds: how long a step may be marked before its agent is asked whether it runs.
        node_patience_seconds: how long a node may be called silent (Ready Unknown) before its sessions are lost;
            more than the 10 s between two reports of a kubelet, because an API server that was away calls them
            silent at once when it is back.
        warm_answer_seconds: how long the agent of a warm pod may take to answer a claim, before the session gets
            another pod.
        refill_quiet_seconds: how long no session must have been starting before a pool is refilled.
        refill_patience_seconds: how long a refill waits for that, at most; then it goes on one pod at a time.
        last_words_seconds: how long the record of a session whose pod is deleted waits for the agent's log.
        lease_seconds: how long the leader's lease holds after each renewal: what a standby waits when it dies.
        sweep_seconds: interval of the direct LISTs that repair what the watches missed.
        watch_seconds: after this time every watch is ended and taken up again, which proves that it was whole.
        silence_seconds: how long a watch may be behind a LIST before it counts as dead.
        api_keys_per_account, archetypes_per_account, webhook_endpoints_per_account: most of each in an account; 0
            is no limit.
        records_per_account, record_days, records_in_cluster: what history is kept.
        webhooks: whether webhook endpoints are told of anything.
        deliveries_per_account, delivery_days, deliveries_in_cluster: which finished deliveries are kept.
        probe_port, metrics_port: 0 takes any free port.
        failpoints: for tests only; lets anybody who reaches the probe port kill or freeze the process.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, populate_by_name=True)

    kubeconfig: Path | None = None
    system_namespace: str = SYSTEM_NAMESPACE
    browser_namespace: str = BROWSER_NAMESPACE
    pool: str = DEFAULT_POOL
    agent_keys: Path = Path("/etc/driftstack/agent-keys")
    tiers: Annotated[
        dict[Tier, InstanceOf[TierLimits]], BeforeValidator(read_tiers), Field(validation_alias="DRIFTSTACK_TIERS")
    ] = {}  # what is not mentioned has its default
    image_pull_policy: str = "IfNotPresent"
    workers: Annotated[int, Field(ge=1, le=1024)] = 64
    start_timeout_seconds: Seconds = 60
    stuck_seconds: Seconds = 30
    surplus_seconds: Annotated[float, Field(ge=0)] = 2.0
    busy_check_seconds: Seconds = 5
    warm_answer_seconds: Annotated[float, Field(gt=0)] = 5.0
    refill_quiet_seconds: Annotated[float, Field(ge=0)] = 0.1
    refill_patience_seconds: Annotated[float, Field(ge=0)] = 2.0
    last_words_seconds: Annotated[float, Field(ge=0)] = 5.0
    node_patience_seconds: Annotated[float, Field(ge=0)] = 12.0
    lease_seconds: Annotated[int, Field(ge=1, le=30)] = 3
    sweep_seconds: Seconds = 30
    watch_seconds: Seconds = 3
    silence_seconds: Seconds = 5
    retention_seconds: Seconds = 600
    api_keys_per_account: Annotated[int, Field(ge=0)] = 1000
    archetypes_per_account: Annotated[int, Field(ge=0)] = 200
    webhook_endpoints_per_account: Annotated[int, Field(ge=0)] = 100
    records_per_account: Annotated[int, Field(ge=0)] = 500
    record_days: Annotated[float, Field(gt=0)] = 7.0
    records_in_cluster: Annotated[int, Field(ge=0)] = 20_000
    webhooks: bool = True
    deliveries_per_account: Annotated[int, Field(ge=0)] = 1000
    delivery_days: Annotated[float, Field(gt=0)] = 7.0
    deliveries_in_cluster: Annotated[int, Field(ge=0)] = 20_000
    probe_port: Port = 8080
    metrics_port: Port = 9090
    log_level: Level = "info"
    failpoints: bool = False

    @property
    def object_quotas(self) -> dict[str, int]:
        """How many objects an account may have, by quota key."""
        most = {
            KEY_QUOTA: self.api_keys_per_account,
            ARCHETYPE_QUOTA: self.archetypes_per_account,
            WEBHOOK_QUOTA: self.webhook_endpoints_per_account,
        }
        return {key: number for key, number in most.items() if number > 0}


S = TypeVar("S", bound=BaseSettings)


def load_settings(**overrides: Any) -> Settings:
    """Read the environment.

    Raises:
        SettingsError: see `load`.
    """
    return load(Settings, PREFIX, **overrides)


def load(kind: type[S], prefix: str, **overrides: Any) -> S:
    """Read the environment's variables with a prefix.

    Raises:
        SettingsError: a value can't work, or a variable with our prefix means nothing (pydantic-settings
            ignores those; a misspelt setting must not pass unnoticed).
    """
    known = {f"{prefix}{name}".upper() for name in kind.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(prefix) and name not in known)
    if unknown:
        raise SettingsError(f"unknown settings: {', '.join(unknown)}")
    try:
        return kind(**overrides)
    except ValidationError as error:
        raise SettingsError(f"the settings can't work: {error}") from error
