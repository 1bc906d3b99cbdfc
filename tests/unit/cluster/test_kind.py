"""kind can't run everywhere: what it would be given is checked instead."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from driftstack_cluster import kind
from driftstack_cluster.errors import Precondition
from driftstack_cluster.settings import Settings

MOUNT = {
    "hostPath": "/src/driftstack/cluster/seccomp",
    "containerPath": "/var/lib/kubelet/seccomp/driftstack",
    "readOnly": True,
}


def _settings(nodes: int) -> Settings:
    return Settings(checkout=Path("/src/driftstack"), cache=Path("/cache"), nodes=nodes)


def test_one_node() -> None:
    assert yaml.safe_load(kind.configuration(_settings(1))) == {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [
            {
                "role": "control-plane",
                "extraMounts": [MOUNT],
                "extraPortMappings": [
                    {
                        "containerPort": 30080,
                        "hostPort": 30080,
                        "listenAddress": "127.0.0.1",
                        "protocol": "TCP",
                    }
                ],
            }
        ],
    }


def test_the_second_node_has_the_profile_too_and_the_text_has_no_anchors() -> None:
    text = kind.configuration(_settings(2))

    assert yaml.safe_load(text)["nodes"][1] == {"role": "worker", "extraMounts": [MOUNT]}
    assert "&" not in text


def test_a_taken_port_is_named_before_anything_is_made() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]

        with pytest.raises(Precondition, match=str(port)):
            kind.check_port(port)

    kind.check_port(port)
