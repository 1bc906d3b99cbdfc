"""Who sends to which endpoint: shards go from one dispatcher to another, and never belong to two."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import Body, KubeClient
from driftstack_operator.webhooks.shards import LEASE_SECONDS, SHARDS, Shards, lease_name, shard_of
from tests.unit.operator.leases import LeaseKube, Server, run

UIDS = {shard_of(uid): uid for uid in (str(uuid4()) for _ in range(200))}


class Leases(KubeClient):
    """An API server with the Leases of all shards, as one dispatcher reaches it."""

    def __init__(self, servers: dict[str, Server]) -> None:
        self._clients = {name: LeaseKube(server) for name, server in servers.items()}

    def cut_off(self) -> None:
        for client in self._clients.values():
            client.unreachable = True

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Body:
        return await self._clients[name].get(kind, namespace, name)

    async def create(self, kind: Kind, namespace: str | None, body: Body) -> Body:
        return await self._clients[body["metadata"]["name"]].create(kind, namespace, body)

    async def merge_patch(self, kind: Kind, namespace: str | None, name: str, *words: Any) -> Body:
        return await self._clients[name].merge_patch(kind, namespace, name, *words)

    def watch(self, kind: Kind, namespace: str | None, version: str, **query: Any) -> Any:
        name = str(query["fieldSelector"]).removeprefix("metadata.name=")
        return self._clients[name].watch(kind, namespace, version, **query)


class Replica:
    """A dispatcher's shards; `busy` is what is in hand there."""

    def __init__(self, servers: dict[str, Server], name: str, replicas: int = 2) -> None:
        loop = asyncio.get_running_loop()
        self.kube = Leases(servers)
        self.idle = asyncio.Event()
        self.idle.set()
        self.shards = Shards(
            self.kube,
            namespace="driftstack-system",
            identity=name,
            replicas=replicas,
            proven=lambda: asyncio.sleep(2),
            opened=lambda: None,
            drained=lambda _: self.idle.wait(),
            settled=lambda: asyncio.sleep(0),
            clock=loop.time,
        )
        self.task = asyncio.create_task(self.shards.run())

    @property
    def owned(self) -> set[int]:
        return {shard for shard, uid in UIDS.items() if self.shards.owns(uid)}

    async def die(self) -> None:
        self.kube.cut_off()
        self.task.cancel()
        await asyncio.wait([self.task])


Make = Callable[..., Replica]


def in_virtual_time(test: Callable[[Make], Awaitable[None]]) -> Callable[[], None]:
    """Run a test that makes replicas; all the while, no shard is two replicas'."""

    @functools.wraps(test)
    def wrapped() -> None:
        async def main() -> None:
            servers = {lease_name(shard): Server() for shard in range(SHARDS)}
            replicas: list[Replica] = []

            def make(name: str, count: int = 2) -> Replica:
                replicas.append(Replica(servers, name, count))
                return replicas[-1]

            async def observe() -> None:
                while True:
                    owners = [shard for replica in replicas if not replica.task.done() for shard in replica.owned]
                    assert len(owners) == len(set(owners)), "a shard is two replicas'"
                    await asyncio.sleep(0.05)

            observer = asyncio.create_task(observe())
            await test(make)
            assert not observer.done(), observer.exception()
            for task in (observer, *(replica.task for replica in replicas)):
                task.cancel()
            await asyncio.wait([observer, *(replica.task for replica in replicas)])

        run(main())

    del wrapped.__wrapped__  # type: ignore[attr-defined] # pytest would ask for its parameter
    return wrapped


async def eventually(predicate: Callable[[], object], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not predicate():  # noqa: ASYNC110 - what is waited for is another task's
            await asyncio.sleep(0.05)


@in_virtual_time
async def test_one_alone_has_all(make: Make) -> None:
    only = make("a", 1)
    await eventually(lambda: len(only.owned) == SHARDS, 5)


@in_virtual_time
async def test_missing_replica_leaves_nothing_undone(make: Make) -> None:
    only = make("a", 2)
    await eventually(lambda: len(only.owned) == SHARDS, 15)


@in_virtual_time
async def test_two_share(make: Make) -> None:
    one, other = make("a"), make("b")
    await eventually(lambda: len(one.owned) == len(other.owned) == SHARDS // 2, 150)
    await asyncio.sleep(600)
    assert len(one.owned) == len(other.owned) == SHARDS // 2


@in_virtual_time
async def test_one_that_comes_later_gets_its_share(make: Make) -> None:
    one = make("a")
    await eventually(lambda: len(one.owned) == SHARDS, 15)
    other = make("b")
    await eventually(lambda: len(one.owned) == len(other.owned) == SHARDS // 2, 150)


@in_virtual_time
async def test_one_that_stops_finishes_what_is_in_hand_and_gives_back(make: Make) -> None:
    one, other = make("a"), make("b")
    await eventually(lambda: len(one.owned) == len(other.owned) == SHARDS // 2, 150)
    one.idle.clear()
    stopping = asyncio.create_task(one.shards.stop())
    await asyncio.sleep(8)
    assert not any(one.shards.sends(uid) for uid in UIDS.values())
    assert len(one.owned) == SHARDS // 2
    one.idle.set()
    await stopping
    await eventually(lambda: len(other.owned) == SHARDS, 8)


@in_virtual_time
async def test_one_that_dies_is_followed_when_its_leases_run_out(make: Make) -> None:
    one, other = make("a"), make("b")
    await eventually(lambda: len(one.owned) == len(other.owned) == SHARDS // 2, 150)
    await one.die()
    await asyncio.sleep(LEASE_SECONDS / 2)
    assert len(other.owned) == SHARDS // 2
    await eventually(lambda: len(other.owned) == SHARDS, LEASE_SECONDS + 8)


@in_virtual_time
async def test_container_that_restarts_has_its_shards_at_once(make: Make) -> None:
    one = make("a", 1)
    await eventually(lambda: len(one.owned) == SHARDS, 5)
    await one.die()
    again = make("a", 1)
    await eventually(lambda: len(again.owned) == SHARDS, 5)


def test_shard_of_an_endpoint_never_changes() -> None:
    """Dispatchers of two versions run side by side in an upgrade."""
    assert [shard_of(f"00000000-0000-4000-8000-00000000000{n}") for n in range(6)] == [3, 1, 3, 1, 2, 0]
