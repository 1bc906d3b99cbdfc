"""What the operator reads of a pod or node: a small, immutable view instead of a body of several kilobytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from driftstack_common.kube.client import Body
from driftstack_common.names import AGENT_PORT, ANNOTATION_SESSION, LABEL_POOL, LABEL_SESSION, LABEL_STATE
from driftstack_common.times import parse_time

ANNOTATION_TOKEN_KEY = "driftstack.dev/token-key"  # noqa: S105 - an annotation's name, not a token
"""On a browser pod: name of the key that the agent's token was made with."""


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
    """

    name: str
    namespace: str
    uid: str = ""
    session: str = ""
    owner: str = ""
    state: str = ""
    pool: str = ""
    token_key: str = ""
    node: str = ""
    ip: str = ""
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    created_at: datetime | None = None
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


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """A node; silent when its kubelet has stopped reporting (Ready is Unknown, not False)."""

    name: str
    silent: bool


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
        session=labels.get(LABEL_SESSION, ""),
        owner=annotations.get(ANNOTATION_SESSION, ""),
        state=labels.get(LABEL_STATE, ""),
        pool=labels.get(LABEL_POOL, ""),
        token_key=annotations.get(ANNOTATION_TOKEN_KEY, ""),
        node=(body.get("spec") or {}).get("nodeName", ""),
        ip=status.get("podIP", ""),
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        created_at=_time(meta.get("creationTimestamp")),
        deleting="deletionTimestamp" in meta,
        disruption=_disruption(conditions),
        unschedulable=_unschedulable(conditions),
        running="running" in container,
        waiting=_waiting(container),
        terminated=_terminated(container),
    )


def read_node(body: Body) -> NodeView:
    """Return the view of a Node object."""
    conditions: list[Body] = (body.get("status") or {}).get("conditions") or []
    ready: Body = next((condition for condition in conditions if condition["type"] == "Ready"), {})
    return NodeView(name=body["metadata"]["name"], silent=ready.get("status") == "Unknown")


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
