"""Nodes and pods that kwok fakes, and the one process that answers for their agents; all else stays as it is.

The pods get addresses from the upper half of the cluster's pod range. A route of the type `local` makes that half
the node's own, so that a call of operator or facade takes the ordinary way (its pod's link, network policies) until
it reaches scale_agent.py instead of a browser.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from driftstack_cluster import namespaces, settings, toolchain
from driftstack_cluster.command import read_access
from driftstack_cluster.errors import CommandFailed, NotReady, Precondition
from driftstack_cluster.layout import Layout
from driftstack_cluster.progress import Progress
from driftstack_cluster.shell import local_environment, run
from driftstack_common.kinds import Pool
from driftstack_common.kube.client import NODE, POD, Body, KubeClient
from driftstack_common.kube.errors import AlreadyExists, NotFound
from driftstack_common.names import BROWSER_NAMESPACE, DEFAULT_POOL

KWOK: Final = "sigs.k8s.io/kwok/cmd/kwok@v0.8.0"
PODS_PER_NODE: Final = 110
"""What a kubelet takes by default."""
NODES_READY: Final = 60.0
PODS_GONE: Final = 60.0
TYPE: Final = {"type": "kwok"}
TAINT: Final = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
BEFORE: Final = "driftstack.dev/bench-before"
"""Annotation of the pool: what its spec said before."""
HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Site:
    """The embedded cluster of this checkout.

    Attributes:
        output: folder for logs and results.
        cache: where built programs are kept.
    """

    layout: Layout
    kubeconfig: Path
    output: Path
    cache: Path

    @classmethod
    def find(cls) -> Site:
        """Return where this INSTANCE is.

        Raises:
            Precondition: there is none, or it is no embedded one.
        """
        chosen = settings.load(HERE.parent)
        access = read_access(chosen)
        if access["backend"] != "embedded":
            raise Precondition("only the embedded cluster can be given fake pods", "Use CLUSTER=embedded.")
        output = chosen.output / "scale"
        output.mkdir(exist_ok=True)
        return cls(Layout(chosen.instance), Path(access["kubeconfig"]), output, chosen.cache)

    @property
    def fake_cidr(self) -> str:
        """The addresses of fake pods."""
        return str(list(ipaddress.ip_network(self.layout.pod_cidr).subnets(1))[1])

    @property
    def enter(self) -> tuple[str, str]:
        """What runs a command in the node's network namespace."""
        return "nsenter", f"--net={namespaces.path(self.layout.control.namespace)}"


class Fakes:
    """The two processes, the route, the nodes; `running` makes them and takes them away."""

    def __init__(self, site: Site, kube: KubeClient) -> None:
        self._site = site
        self._kube = kube
        self.kwok = self.agent = 0
        """Process ids."""

    @asynccontextmanager
    async def running(self, progress: Progress) -> AsyncIterator[None]:
        """Fake nodes and pods while in the context; no nodes are there at first."""
        kwok = toolchain.ensure_go_tool("kwok", KWOK, self._site.cache, progress)
        site = self._site
        with contextlib.ExitStack() as stack:
            self._route("replace")
            stack.callback(self._route, "del")
            agent = [*site.enter, sys.executable, str(HERE / "scale_agent.py")]
            self.agent = stack.enter_context(self._started("agent", agent))
            self.kwok = stack.enter_context(self._started("kwok", self._kwok(kwok)))
            yield

    def _kwok(self, program: Path) -> list[str]:
        return [
            str(program),
            f"--kubeconfig={self._site.kubeconfig}",
            f"--config={HERE / 'kwok.yaml'}",
            f"--manage-nodes-with-label-selector={'='.join(*TYPE.items())}",
            f"--cidr={self._site.fake_cidr}",
            f"--node-ip={self._site.layout.control.address}",
            "--node-lease-duration-seconds=40",
            "-v=WARN",  # it would log every pod
        ]

    @contextlib.contextmanager
    def _started(self, name: str, argv: Sequence[str]) -> Any:
        """Run a program that ends with us, whatever ends us."""
        log = self._site.output / f"{name}.log"
        with log.open("w") as file:
            command = ["setpriv", "--pdeathsig", "KILL", *argv]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=local_environment()
            )
        try:
            yield process.pid
        finally:
            if process.poll() is not None:
                print(f"{name} ended by itself: see {log}", file=sys.stderr)
            process.terminate()
            process.wait()

    def _route(self, verb: str) -> None:
        with contextlib.suppress(CommandFailed):  # it went with the node's namespace
            run([*self._site.enter, "ip", "route", verb, "local", self._site.fake_cidr, "dev", "lo"])

    async def add_nodes(self, pods: int) -> None:
        """Make as many nodes as so many pods need, and wait until kwok calls them ready.

        Raises:
            NotReady: it doesn't.
        """
        for number in range(-(-pods // PODS_PER_NODE)):
            with contextlib.suppress(AlreadyExists):
                await self._kube.create(NODE, None, _node(f"scale-{number}"))
        deadline = time.monotonic() + NODES_READY
        while not all(map(_is_ready, await self._nodes())):
            if time.monotonic() > deadline:
                raise NotReady("kwok doesn't make its nodes ready", f"Its log: {self._site.output / 'kwok.log'}")
            await asyncio.sleep(0.2)

    async def remove_nodes(self) -> None:
        """Delete all fake nodes once their pods are gone: without kwok nobody would end them."""
        nodes = await self._nodes()
        names = {node["metadata"]["name"] for node in nodes}
        deadline = time.monotonic() + PODS_GONE
        while time.monotonic() < deadline:
            pods = (await self._kube.list_objects(POD, BROWSER_NAMESPACE))["items"]
            if not any(pod["spec"].get("nodeName") in names for pod in pods):
                break
            await asyncio.sleep(0.5)
        for node in nodes:
            with contextlib.suppress(NotFound):
                await self._kube.delete(NODE, None, node["metadata"]["name"])

    async def _nodes(self) -> list[Body]:
        listing = await self._kube.list_objects(NODE, labelSelector="=".join(*TYPE.items()))
        return list(listing["items"])

    async def take_pool(self, warm: int) -> None:
        """Have browser pods run on fake nodes, and so many of them wait warm."""
        pool = await self._pool()
        before = {name: pool["spec"].get(name) for name in ("nodeSelector", "tolerations", "replicas")}
        spec = {
            "nodeSelector": TYPE,
            "tolerations": [{"key": TAINT["key"], "operator": "Exists"}],
            "replicas": warm,
        }
        annotations = pool["metadata"].get("annotations", {})
        note = {} if BEFORE in annotations else {BEFORE: json.dumps(before)}
        await self._patch_pool({"metadata": {"annotations": note}, "spec": spec})

    async def give_pool_back(self) -> None:
        """Have browser pods run where they ran before."""
        before = (await self._pool())["metadata"].get("annotations", {}).get(BEFORE)
        if before is not None:
            await self._patch_pool({"metadata": {"annotations": {BEFORE: None}}, "spec": json.loads(before)})

    async def _pool(self) -> Body:
        return await self._kube.get(Pool.KIND, BROWSER_NAMESPACE, DEFAULT_POOL)

    async def _patch_pool(self, patch: Body) -> None:
        await self._kube.merge_patch(Pool.KIND, BROWSER_NAMESPACE, DEFAULT_POOL, patch)


def _is_ready(node: Body) -> bool:
    conditions = node["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _node(name: str) -> Body:
    room = {"cpu": "64", "memory": "256Gi", "pods": str(PODS_PER_NODE)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**TYPE, "kubernetes.io/hostname": name}},
        "spec": {"taints": [TAINT]},
        "status": {"allocatable": room, "capacity": room, "nodeInfo": _NODE_INFO},
    }


_NODE_INFO: Final = {
    **dict.fromkeys(("bootID", "kernelVersion", "machineID", "osImage", "systemUUID", "kubeProxyVersion"), ""),
    "architecture": "amd64",
    "containerRuntimeVersion": "kwok",
    "kubeletVersion": "kwok",
    "operatingSystem": "linux",
}
