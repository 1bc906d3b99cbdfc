"""What the benchmarks' client waits for, and how it ends where that never comes."""

from __future__ import annotations

from typing import Any

import pytest
import sessions

from driftstack_common.kinds import Pool
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import Body, KubeClient


class Cluster(KubeClient):
    """Shows a pool in one state after the other, and then the last; with so many browser pods."""

    def __init__(self, pods: int, *statuses: Body) -> None:
        self._pods = pods
        self._statuses = list(statuses)

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Body:
        assert kind is Pool.KIND
        return {"status": self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]}

    async def list_metadata(self, kind: Kind, namespace: str | None = None, **query: str | int) -> Body:
        return {"items": [{}] * self._pods}


def status(ready: int, hits: int, message: str = "") -> dict[str, Any]:
    conditions = [{"type": "Ready", "message": message}]
    return {"readyReplicas": ready, "hits": hits, "misses": 1, "conditions": conditions}


async def test_what_a_pool_said_before_a_burst_is_no_answer() -> None:
    cluster = Cluster(10, status(10, hits=0), status(10, hits=0), status(10, hits=10))
    assert await sessions.wait_until_warm(cluster, 10, after=11) == 3


async def test_pool_that_stands_still_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "STANDSTILL", 0.0)
    cluster = Cluster(9, status(8, hits=0, message="0/1 nodes are available: 1 Insufficient cpu"))
    with pytest.raises(
        SystemExit, match=r"10 warm pods.* it has 8, and there are 9 browser pods.*Insufficient cpu"
    ):
        await sessions.wait_until_warm(cluster, 10)


async def test_session_that_ends_unstarted_is_told_at_once() -> None:
    client = sessions.Client(None, None)  # type: ignore[arg-type] # neither is called
    waiting = client._ready["u1"]
    client._take({"metadata": {"uid": "u1", "name": "one"}, "status": {}}, gone=True)
    with pytest.raises(RuntimeError, match="one ended unstarted"):
        await waiting
