"""Names, addresses and paths of an embedded node: plain values, no access to the machine.

Instance 0 is the one people use. The others (1 to 9) have names and ranges of their own, so a
test may start and remove a node beside a developer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_SERVICE_ADDRESS = "10.96.0.10"
CLUSTER_DOMAIN = "cluster.local"

FACADE_NODE_PORT = 30080

DEMO_HOST = "demo.driftstack.test"
DEMO_ADDRESS = "203.0.113.10"
RESOLVER_ADDRESS = "203.0.113.53"
# Addresses a browser must not reach, each with a server that answers, so that "refused" is
# proven against something that is there: cloud metadata and one of each private range.
FORBIDDEN_ADDRESSES = ("169.254.169.254", "192.168.254.10", "172.31.254.10", "100.64.254.10", "10.200.254.10")

POLICY_QUEUE = 100


@dataclass(frozen=True)
class Machine:
    """One node of the cluster: a network namespace with a container runtime and a kubelet.

    Attributes:
        number: 1 for the node that holds the control plane, 2 for the second.
    """

    instance: int
    number: int

    @property
    def name(self) -> str:
        """The node's name in Kubernetes."""
        return "local" if self.number == 1 else f"local-{self.number}"

    @property
    def namespace(self) -> str:
        """Name of its network namespace."""
        return f"{_prefix(self.instance)}-{self.name}"

    @property
    def address(self) -> str:
        """Its address in the node network."""
        return f"10.254.{254 - self.instance}.{self.number + 1}"

    @property
    def pod_cidr(self) -> str:
        """The range its pods get addresses from."""
        return f"10.{244 - self.instance}.{self.number}.0/24"

    @property
    def state(self) -> Path:
        """What survives a reboot."""
        return state_root(self.instance) / self.name

    @property
    def run(self) -> Path:
        """Sockets, mounts and process records; gone after a reboot."""
        return run_root(self.instance) / self.name

    @property
    def containerd_socket(self) -> Path:
        """Where its container runtime listens."""
        return self.run / "containerd.sock"

    @property
    def kubelet_root(self) -> Path:
        """The kubelet's root directory; localhost seccomp profiles live below it."""
        return self.state / "kubelet"

    @property
    def cgroup(self) -> str:
        """The control group that holds its pods, below each hierarchy's root."""
        return f"/{_prefix(self.instance)}/{self.name}"


@dataclass(frozen=True)
class Layout:
    """A whole embedded cluster."""

    instance: int = 0
    nodes: int = 1

    @property
    def prefix(self) -> str:
        """First part of every name this cluster gives to something on the machine."""
        return _prefix(self.instance)

    @property
    def state(self) -> Path:
        """The folder under /var/lib."""
        return state_root(self.instance)

    @property
    def run(self) -> Path:
        """The folder under /run."""
        return run_root(self.instance)

    @property
    def logs(self) -> Path:
        """Logs of the node's processes."""
        return self.state / "logs"

    @property
    def certificates(self) -> Path:
        """The authority, certificates and kubeconfigs."""
        return self.state / "certificates"

    @property
    def host_link(self) -> str:
        """The host's end of the link into the node network (at most 15 characters)."""
        return f"{self.prefix}0"

    @property
    def host_address(self) -> str:
        """The host's address in the node network."""
        return f"10.254.{254 - self.instance}.1"

    @property
    def node_network(self) -> str:
        """The network of host and nodes."""
        return f"10.254.{254 - self.instance}.0/24"

    @property
    def pod_cidr(self) -> str:
        """All pods of the cluster."""
        return f"10.{244 - self.instance}.0.0/16"

    @property
    def control(self) -> Machine:
        """The node that holds the control plane."""
        return Machine(self.instance, 1)

    @property
    def machines(self) -> list[Machine]:
        """All nodes, the one with the control plane first."""
        return [Machine(self.instance, number) for number in range(1, self.nodes + 1)]

    @property
    def api_url(self) -> str:
        """The API server as the host reaches it."""
        return f"https://{self.control.address}:6443"

    @property
    def facade_url(self) -> str:
        """The facade as the host reaches it."""
        return f"http://{self.control.address}:{FACADE_NODE_PORT}"

    @property
    def lock(self) -> Path:
        """Held by whoever changes this node."""
        return Path(f"/run/lock/{self.prefix}.lock")


def _prefix(instance: int) -> str:
    return "driftstack" if instance == 0 else f"driftstack{instance}"


def state_root(instance: int) -> Path:
    """Where an instance keeps what survives a reboot."""
    return Path("/var/lib/driftstack/node" if instance == 0 else f"/var/lib/driftstack/node{instance}")


def run_root(instance: int) -> Path:
    """Where an instance keeps what does not."""
    return Path("/run") / _prefix(instance)
