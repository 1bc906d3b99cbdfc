"""BrowserSession: one live session."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Final, Literal

from driftstack_common.kinds.meta import Condition, Kind, Model, Resource
from driftstack_common.names import ANNOTATION_API_KEY_ID, ANNOTATION_CREATED_AT, KUBECTL_KEY_ID
from driftstack_common.times import parse_time

PLAUSIBLE: Final = timedelta(seconds=60)
"""How far the facade's stamp may be from the API server's; more is a clock that is wrong."""

Purpose = Literal["production_customer"]
BehavioralProfile = Literal["casual", "regular", "power_user"]


class Phase(StrEnum):
    """The states of a session. destroyed and errored are terminal and only ever seen in a record."""

    CREATING = "creating"
    READY = "ready"
    BUSY = "busy"
    DESTROYED = "destroyed"
    ERRORED = "errored"


class SessionSpec(Model, frozen=True, kw_only=True):
    """What the creator asked for; immutable.

    Attributes:
        archetype: slug of the device profile; None takes the account's default.
        pool: name of the pool to start from; None takes the archetype's, and without one the installation's.
        metadata: any JSON object; returned as it is, part of every webhook.
        idle_timeout_seconds, max_duration_seconds: the account's tier decides when None; a tier's own limit
            is never exceeded.
    """

    archetype: str | None = None
    pool: str | None = None
    purpose: Purpose = "production_customer"
    label: str | None = None
    metadata: dict[str, Any] | None = None
    behavioral_profile: BehavioralProfile = "regular"
    idle_timeout_seconds: int | None = None
    max_duration_seconds: int | None = None


class Browser(Model, frozen=True, kw_only=True):
    """The pod that runs the session's browser.

    Attributes:
        address: `host:port` of the agent.
        token_key: id of the key its token is made with (see agent_token).
    """

    pod: str
    node: str = ""
    address: str = ""
    token_key: str = ""
    version: str = ""


class Stages(Model, frozen=True, kw_only=True):
    """When each stage of the start was reached, RFC 3339 with milliseconds.

    What lies before the session's creation, in a pod that was warm, is left out.
    """

    accepted: str | None = None
    pod_created: str | None = None
    pod_scheduled: str | None = None
    sandbox: str | None = None
    container: str | None = None
    agent: str | None = None
    chromium: str | None = None
    page: str | None = None
    pod_running: str | None = None
    claimed: str | None = None
    ready: str | None = None


class SessionStatus(Model, frozen=True, kw_only=True):
    """What the operator knows; the facade may only change phase between ready and busy, with step.

    Attributes:
        step: number of steps that were marked busy; a writer tests it, so that two never mix.
        last_transition_time: time of the last change of phase, RFC 3339 with milliseconds.
        ready_in: time from creation to ready, for people, e.g. `0.41s`.
        pool: `hit` when a warm pod served the session, else `miss`.
    """

    phase: Phase = Phase.CREATING
    reason: str = ""
    message: str = ""
    conditions: list[Condition] = []
    archetype: str | None = None
    browser: Browser | None = None
    step: int = 0
    last_transition_time: str | None = None
    ready_in: str | None = None
    pool: Literal["hit", "miss"] | None = None
    stages: Stages = Stages()


class Session(Resource, frozen=True, kw_only=True):
    """A BrowserSession object."""

    KIND: ClassVar[Kind] = Kind("BrowserSession", "browsersessions")
    spec: SessionSpec = SessionSpec()
    status: SessionStatus = SessionStatus()

    @property
    def uid(self) -> str:
        """The uid, which is also the UUID of the public id."""
        return self.metadata.uid

    @property
    def ending(self) -> bool:
        """Whether it was deleted: from then on every reader calls it destroyed."""
        return self.metadata.deletion_timestamp is not None

    @property
    def created_at(self) -> datetime:
        """Creation, to the millisecond when the facade made it, else to the second."""
        stored_at = self.metadata.creation_timestamp
        with contextlib.suppress(KeyError, ValueError):  # a restored object may carry anything
            said = parse_time(self.metadata.annotations[ANNOTATION_CREATED_AT])
            if stored_at is None or abs(said - stored_at) < PLAUSIBLE:
                return said
        if stored_at is None:
            raise ValueError("a session that the API server has not stored yet has no creation time")
        return stored_at

    @property
    def api_key_id(self) -> str:
        """The key that made it, or the well-known id of sessions made with kubectl."""
        return self.metadata.annotations.get(ANNOTATION_API_KEY_ID, KUBECTL_KEY_ID)
