"""What a node remembers about itself: whose it is, and what is installed on it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from driftstack_cluster.certificates import write_atomically


@dataclass
class State:
    """Content of the state file.

    Attributes:
        checkout: root of the repository that brought the node up.
        nodes: how many nodes it has.
        egress: whether it may reach beyond the machine.
        applied: hash of the base manifests in the cluster.
        installed: hash of chart, images and values in the cluster.
    """

    checkout: str = ""
    nodes: int = 1
    egress: bool = False
    applied: str = ""
    installed: str = ""


def load(file: Path) -> State:
    """Reads the file; an absent or damaged one gives an empty state, which is then rebuilt."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return State()
    if not isinstance(content, dict):
        return State()
    known = {item.name for item in fields(State)}
    return State(**{name: value for name, value in content.items() if name in known})


def save(file: Path, state: State) -> None:
    """Writes the file."""
    write_atomically(file, json.dumps(asdict(state), indent=2).encode(), mode=0o644)
