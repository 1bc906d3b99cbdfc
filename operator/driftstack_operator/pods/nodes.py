"""What the operator reads of a node, and whose pods it could run, as far as labels, taints and size tell. Pure.

The scheduler knows better. This only keeps warm pods from giving way on nodes where nothing is gained by it.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from driftstack_common.kinds import PoolSpec
from driftstack_common.kube.client import Body

_UNITS: Final = {
    "": 1.0,
    "m": 1e-3,
    **{unit: 1000.0**power for power, unit in enumerate(("k", "M", "G", "T"), 1)},
    **{unit: 1024.0**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti"), 1)},
}
_QUANTITY: Final = re.compile(r"([0-9.]+)([a-zA-Z]*)")
_REPELLENT: Final = ("NoSchedule", "NoExecute")


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """A node.

    Attributes:
        silent: its kubelet has stopped reporting (Ready is Unknown, not False).
        taints: those that keep pods away which don't tolerate them.
        allocatable: processors and bytes for pods, by resource; what it doesn't say is unlimited.
    """

    name: str
    silent: bool
    labels: dict[str, str] = {}
    taints: tuple[Body, ...] = ()
    allocatable: dict[str, str] = {}


def read_node(body: Body) -> NodeView:
    """Return the view of a Node object."""
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    ready: Body = next((each for each in status.get("conditions") or [] if each["type"] == "Ready"), {})
    allocatable = status.get("allocatable") or {}
    return NodeView(
        name=meta["name"],
        silent=ready.get("status") == "Unknown",
        labels=meta.get("labels") or {},
        taints=tuple(taint for taint in spec.get("taints") or [] if taint["effect"] in _REPELLENT),
        allocatable={name: allocatable[name] for name in ("cpu", "memory") if name in allocatable},
    )


def suits(node: NodeView, pool: PoolSpec) -> bool:
    """Whether a pod of the pool could run on the node if nothing else did."""
    selected = pool.node_selector.items() <= node.labels.items()
    tolerated = all(any(_tolerates(each, taint) for each in pool.tolerations) for taint in node.taints)
    requests: dict[str, str] = msgspec.to_builtins(pool.resources.requests)
    fits = all(
        amount(asked) <= amount(node.allocatable[name])
        for name, asked in requests.items()
        if name in node.allocatable
    )
    return selected and tolerated and fits


def amount(quantity: str) -> float:
    """Return a Kubernetes quantity as a number; infinity for one in units that nobody uses here."""
    match = _QUANTITY.fullmatch(quantity)
    return float(match[1]) * _UNITS[match[2]] if match is not None and match[2] in _UNITS else float("inf")


def _tolerates(toleration: dict[str, Any], taint: Body) -> bool:
    key, operator = toleration.get("key"), toleration.get("operator", "Equal")
    if toleration.get("effect") not in (None, "", taint["effect"]) or key not in (None, "", taint["key"]):
        return False
    return operator == "Exists" or bool(toleration.get("value", "") == taint.get("value", ""))
