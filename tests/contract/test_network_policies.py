"""What the rendered NetworkPolicies let through, judged address by address."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

import pytest

from driftstack_common.names import AGENT_PORT
from tests.contract.conftest import Manifest, Render

Rule = dict[str, Any]


PRIVATE: Final = [
    "10.96.0.1",
    "10.244.1.7",
    "10.254.254.2",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.254",
    "169.254.169.254",
    "127.0.0.1",
    "0.0.0.0",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.251",
    "255.255.255.255",
    "::1",
    "::",
    "::10.0.0.1",
    "64:ff9b::",
    "64:ff9b::a00:1",
    "64:ff9b::6440:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::ac1f:fffe",
    "64:ff9b::c0a8:101",
    "64:ff9b::e000:fb",
    "64:ff9b:1::a00:1",
    "2002:a00:1::1",
    "2001:0:a00:1::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


def policies(manifests: list[Manifest]) -> dict[str, Any]:
    """Return the spec of each NetworkPolicy by its name."""
    return {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"}


def allows(rules: list[Rule], address: str, port: int) -> bool:
    """Whether egress rules let a TCP connection through."""
    return any(
        (not rule.get("ports") or any(p["port"] == port and p["protocol"] == "TCP" for p in rule["ports"]))
        and (
            "to" not in rule or any(_covers(peer["ipBlock"], ipaddress.ip_address(address)) for peer in rule["to"])
        )
        for rule in rules
    )


def _covers(block: dict[str, Any], address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    inside = address in ipaddress.ip_network(block["cidr"])
    return inside and not any(address in ipaddress.ip_network(cidr) for cidr in block.get("except", []))


@pytest.mark.parametrize("address", PRIVATE)
def test_browsers_reach_no_private_address(render: Render, address: str) -> None:
    egress = policies(render("minimal-values.yaml"))["driftstack-browsers"]["egress"]
    assert [port for port in (53, 80, 443, 6443, 10250) if allows(egress, address, port)] == []


PUBLIC: Final = ["203.0.113.10", "8.8.8.8", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PUBLIC)
def test_browsers_reach_public_addresses(render: Render, address: str) -> None:
    egress = policies(render("local-values.yaml"))["driftstack-browsers"]["egress"]
    assert allows(egress, address, 443)
    assert allows(egress, address, 8080)


def test_addresses_of_the_cluster_are_refused_but_for_the_resolver(render: Render) -> None:
    egress = policies(render("full-values.yaml"))["driftstack-browsers"]["egress"]
    for resolver, neighbour in (("198.51.100.53", "198.51.100.54"), ("2001:db8::53", "2001:db8::54")):
        assert allows(egress, resolver, 53)
        assert not allows(egress, resolver, 443)
        assert not allows(egress, neighbour, 53)
    assert not allows(egress, "64:ff9b::c633:6436", 53), "198.51.100.54 by NAT64"


@pytest.mark.parametrize("values", ["minimal-values.yaml", "full-values.yaml", "local-values.yaml"])
def test_exceptions_lie_within_their_range(render: Render, values: str) -> None:
    """The API refuses any other."""
    for rule in policies(render(values))["driftstack-browsers"]["egress"]:
        for block in (peer["ipBlock"] for peer in rule["to"]):
            whole = ipaddress.ip_network(block["cidr"])
            parts = [ipaddress.ip_network(cidr) for cidr in block.get("except", [])]
            assert all(part.version == whole.version and part != whole for part in parts)


def test_browsers_are_reached_by_operator_and_facade_alone(render: Render) -> None:
    (rule,) = policies(render("minimal-values.yaml"))["driftstack-browsers"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": AGENT_PORT}]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "driftstack-system"}
    selected = {e["key"].rsplit("/", 1)[1]: e["values"] for e in peer["podSelector"]["matchExpressions"]}
    assert selected == {"name": ["driftstack"], "component": ["operator", "facade"]}


def test_selectors_match_the_pods(render: Render) -> None:
    manifests = render("minimal-values.yaml")
    pods = [m["spec"]["template"]["metadata"]["labels"] for m in manifests if m["kind"] == "Deployment"]
    for name in ("driftstack-operator", "driftstack-facade"):
        wanted = policies(manifests)[name]["podSelector"]["matchLabels"]
        assert sum(wanted.items() <= labels.items() for labels in pods) == 1, name


def test_who_reaches_the_facade_can_be_narrowed(render: Render) -> None:
    open_to_all = policies(render("minimal-values.yaml"))["driftstack-facade"]["ingress"]
    assert [rule.get("from") for rule in open_to_all] == [None, None]
    narrowed = policies(render("full-values.yaml"))["driftstack-facade"]["ingress"]
    assert [len(rule["from"]) for rule in narrowed] == [2, 1]


@pytest.mark.parametrize("address", PRIVATE)
def test_dispatcher_reaches_no_private_address_but_an_api_server(render: Render, address: str) -> None:
    egress = policies(render("minimal-values.yaml"))["driftstack-dispatcher"]["egress"]
    assert not allows(egress, address, 8443)
    options = ("--set", "webhooks.apiServer.cidrs={192.0.2.7/32},webhooks.apiServer.ports={6443}")
    egress = policies(render("minimal-values.yaml", *options))["driftstack-dispatcher"]["egress"]
    assert not allows(egress, address, 6443)
    assert allows(egress, "192.0.2.7", 6443)


def test_dispatcher_reaches_public_addresses_and_resolvers(render: Render) -> None:
    egress = policies(render("minimal-values.yaml"))["driftstack-dispatcher"]["egress"]
    assert allows(egress, "93.184.216.34", 8443)
    assert allows(egress, "2606:2800:220:1:248:1893:25c8:1946", 443)
    assert allows(egress, "64:ff9b::5db8:d822", 443)
    assert allows(egress, "10.0.0.10", 53)
    assert policies(render("local-values.yaml", "--set", "webhooks.allowPrivate=true"))["driftstack-dispatcher"][
        "egress"
    ] == [{}]
