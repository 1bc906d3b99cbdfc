"""What the operator reads of a pod: a small, immutable view instead of a body of several kilobytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from driftstack_common.kube.client import Body
from driftstack_common.names import (
    AGENT_PORT,
    ANNOTATION_SESSION,
    ANNOTATION_TEMPLATE,
    LABEL_POOL,
    LABEL_SESSION,
    LABEL_STATE,
    STATE_WARM,
    WARM_POD_PREFIX,
)
from driftstack_common.times import parse_time

ANNOTATION_TOKEN_KEY = "driftstack.dev/token-key"  # noqa: S105 - an annotation's name, not a token
"""On a browser pod: name of the key that the agent's token was made with."""
NO_ROOM = ("Insufficient ", "Too many pods")
"""What the scheduler says of nodes that lack room."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Why the container does not run yet."""

    reason: str = ""
    message: str = ""


class Terminated(msgspec.Struct, frozen=True, kw_only=True):
    """How the container ended; message is what it wrote itself, at most 4 KiB."""

    exit_code: int
    reason: str = ""
    message: str = ""


class PodView(msgspec.Struct, frozen=True, kw_only=True):
    """A browser pod.

    Attributes:
        session: uid of the session it belongs to, empty for a warm pod.
        owner: `<namespace>/<name>` of that session.
        deleting: has a deletionTimestamp.
        gone: was seen to disappear; the rest is how it last looked.
        disruption: reason of a true DisruptionTarget condition.
        unschedulable: message of a PodScheduled condition that is false, else None.
        template: hash of the template it was made from; only pods of a pool say it.
        started_at: when the kubelet took it; its deadline counts from then.
    """

    name: str
    namespace: str
    uid: str = ""
    version: str = ""
    session: str = ""
    owner: str = ""
    state: str = ""
    pool: str = ""
    template: str = ""
    token_key: str = ""
    node: str = ""
    ip: str = ""
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    deleting: bool = False
    gone: bool = False
    disruption: str = ""
    unschedulable: str | None = None
    running: bool = False
    waiting: Waiting | None = None
    terminated: Terminated | None = None

    @property
    def address(self) -> str:
        """`host:port` of its agent, empty before the pod has an IP."""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{host}:{AGENT_PORT}" if host else ""

    @property
    def pooled(self) -> bool:
        """Whether a pool started it, for whoever comes; a session's own (cold) pod is named after it."""
        return self.name.startswith(WARM_POD_PREFIX)

    @property
    def waits(self) -> bool:
        """Whether it belongs to its pool, as a warm pod or one to be."""
        return self.state == STATE_WARM and not self.session and not self.deleting

    @property
    def lacks_room(self) -> bool:
        """Whether no node takes it, and one at least would if it had room left."""
        return any(word in (self.unschedulable or "") for word in NO_ROOM)

    @property
    def over(self) -> bool:
        """Whether its container has ended, or never will run."""
        return self.terminated is not None or self.phase in ("Failed", "Succeeded")


def read_pod(body: Body) -> PodView:
    """Return the view of a Pod object."""
    meta, status = body["metadata"], body.get("status") or {}
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    containers: list[Body] = status.get("containerStatuses") or []
    container: Body = (containers[0].get("state") if containers else None) or {}
    return PodView(
        name=meta["name"],
        namespace=meta.get("namespace", ""),
        uid=meta.get("uid", ""),
        version=meta.get("resourceVersion", ""),
        session=labels.get(LABEL_SESSION, ""),
        owner=annotations.get(ANNOTATION_SESSION, ""),
        state=labels.get(LABEL_STATE, ""),
        pool=labels.get(LABEL_POOL, ""),
        template=annotations.get(ANNOTATION_TEMPLATE, ""),
        token_key=annotations.get(ANNOTATION_TOKEN_KEY, ""),
        node=(body.get("spec") or {}).get("nodeName", ""),
        ip=status.get("podIP", ""),
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        created_at=_time(meta.get("creationTimestamp")),
        started_at=_time(status.get("startTime")),
        deleting="deletionTimestamp" in meta,
        disruption=_disruption(conditions),
        unschedulable=_unschedulable(conditions),
        running="running" in container,
        waiting=_waiting(container),
        terminated=_terminated(container),
    )


def _time(text: str | None) -> datetime | None:
    return parse_time(text) if text else None


def _disruption(conditions: dict[str, Any]) -> str:
    condition = conditions.get("DisruptionTarget") or {}
    return str(condition.get("reason", "")) if condition.get("status") == "True" else ""


def _unschedulable(conditions: dict[str, Any]) -> str | None:
    condition = conditions.get("PodScheduled") or {}
    return str(condition.get("message", "")) if condition.get("status") == "False" else None


def _waiting(container: dict[str, Any]) -> Waiting | None:
    state = container.get("waiting")
    return Waiting(reason=state.get("reason", ""), message=state.get("message", "")) if state else None


def _terminated(container: dict[str, Any]) -> Terminated | None:
    state = container.get("terminated")
    if not state:
        return None
    return Terminated(
        exit_code=state.get("exitCode", 0), reason=state.get("reason", ""), message=state.get("message", "")
    )
