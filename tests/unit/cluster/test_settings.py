"""The choices a user has, as the environment spells them."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftstack_cluster import settings
from driftstack_cluster.errors import Precondition

CHECKOUT = Path("/src/driftstack")


def test_defaults() -> None:
    chosen = settings.load(CHECKOUT, {"HOME": "/home/ann"})

    assert chosen == settings.Settings(
        checkout=CHECKOUT,
        cache=Path("/home/ann/.cache/driftstack"),
        user_kubeconfig=Path("/home/ann/.kube/config"),
    )
    assert chosen.output == CHECKOUT / ".driftstack"


def test_everything_chosen() -> None:
    environment = {
        "HOME": "/home/ann",
        "XDG_CACHE_HOME": "/var/cache",
        "KUBECONFIG": "/a/config:/b/config",
        "CLUSTER": "Embedded",
        "NODES": "2",
        "EGRESS": "ON",
        "INSTANCE": "3",
        "YES": "1",
        "REGISTRY": "registry.test/team",
    }

    chosen = settings.load(CHECKOUT, environment)

    assert chosen == settings.Settings(
        checkout=CHECKOUT,
        cache=Path("/var/cache/driftstack"),
        cluster="embedded",
        nodes=2,
        egress=True,
        instance=3,
        yes=True,
        registry="registry.test/team",
        user_kubeconfig=Path("/a/config"),
    )
    assert chosen.output == CHECKOUT / ".driftstack" / "instance-3"


@pytest.mark.parametrize(
    ("name", "value"),
    [("CLUSTER", "minikube"), ("NODES", "3"), ("NODES", "two"), ("EGRESS", "maybe"), ("INSTANCE", "10")],
)
def test_an_unknown_value_is_refused_with_the_known_ones(name: str, value: str) -> None:
    with pytest.raises(Precondition, match=f"{name}={value}") as caught:
        settings.load(CHECKOUT, {"HOME": "/home/ann", name: value})

    assert caught.value.hint.startswith("Use one of: ")
