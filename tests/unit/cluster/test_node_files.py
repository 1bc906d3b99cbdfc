"""What the node's processes are given to read."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml

from driftstack_cluster import containers, firewall
from driftstack_cluster.components import Components
from driftstack_cluster.credentials import Credentials, Pair
from driftstack_cluster.layout import Layout, Machine

LAYOUT = Layout()
PAIR = Pair(Path("/c.crt"), Path("/c.key"))
NAMES = ("kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", "network-policies")


def _components(upstreams: tuple[str, ...] = ()) -> Components:
    configs = {name: Path(f"/{name}.kubeconfig") for name in (*NAMES, "kubelet-local")}
    credentials = Credentials(Path("/ca.crt"), PAIR, PAIR, PAIR, {"local": PAIR}, configs)
    return Components(LAYOUT, credentials, Path("/bin/node"), upstreams)


def test_containerd_keeps_to_the_nodes_own_folders() -> None:
    machine = Machine(0, 1)
    configuration = tomllib.loads(containers.runtime_config(machine))

    assert configuration["root"].startswith(f"{machine.state}/")
    assert configuration["state"].startswith(f"{machine.run}/")
    cri = configuration["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["netns_mounts_under_state_dir"] is True
    assert cri["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is False


def test_the_pod_network_has_no_ipv6() -> None:
    network = json.loads(containers.pod_network(LAYOUT, LAYOUT.control))

    assert [plugin["type"] for plugin in network["plugins"]] == ["ptp", "tuning", "portmap"]
    assert network["plugins"][1]["sysctl"] == {"net.ipv6.conf.eth0.disable_ipv6": "1"}
    assert network["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]


def test_packets_to_the_node_are_judged_without_the_exemption_for_root() -> None:
    rules = firewall.policy_rules(LAYOUT).splitlines()

    judge = [rule for rule in rules if rule.startswith("-A DRIFTSTACK-JUDGE")]
    assert judge == [
        "-A DRIFTSTACK-JUDGE -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN",
        "-A DRIFTSTACK-JUDGE -s 10.244.0.0/16 -j NFQUEUE --queue-num 100",
        "-A DRIFTSTACK-JUDGE -d 10.244.0.0/16 -j NFQUEUE --queue-num 100",
    ]


def test_request_limits_are_raised() -> None:
    components = _components()

    for process in (components.controller_manager(), components.scheduler()):
        assert {"--kube-api-qps=500", "--kube-api-burst=1000"} <= set(process.argv)
    kubelet = yaml.safe_load(components._kubelet_configuration(LAYOUT.control))
    assert (kubelet["kubeAPIQPS"], kubelet["kubeAPIBurst"]) == (500, 1000)


def _block(corefile: str, zone: str, address: str) -> str:
    blocks = corefile.split("\n}\n")
    return next(block for block in blocks if block.startswith(f"{zone}:53") and f"bind {address}\n" in block)


def test_the_browsers_resolver_knows_no_cluster_name() -> None:
    corefile = _components()._corefile()

    resolver = [block for block in corefile.split("\n}\n") if "bind 203.0.113.53" in block]
    assert len(resolver) == 2
    assert not any("kubernetes" in block for block in resolver)
    assert "rcode NXDOMAIN" in _block(corefile, ".", "203.0.113.53")


@pytest.mark.parametrize("address", ["203.0.113.53", "10.254.254.2"])
def test_other_names_go_out_only_with_egress(address: str) -> None:
    assert "forward" not in _components()._corefile()
    assert "forward . 192.0.2.1" in _block(_components(("192.0.2.1",))._corefile(), ".", address)
