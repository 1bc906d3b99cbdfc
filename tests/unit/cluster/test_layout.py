"""Names and ranges of the node: fixed for the first, disjoint for the others."""

from __future__ import annotations

import ipaddress
from itertools import combinations

from driftstack_cluster.layout import FORBIDDEN_ADDRESSES, SERVICE_CIDR, Layout


def test_the_addresses_that_the_documentation_names() -> None:
    layout = Layout(nodes=2)

    assert layout.facade_url == "http://10.254.254.2:30080"
    assert layout.pod_cidr == "10.244.0.0/16"
    assert [machine.name for machine in layout.machines] == ["local", "local-2"]
    assert [machine.address for machine in layout.machines] == ["10.254.254.2", "10.254.254.3"]
    assert [machine.pod_cidr for machine in layout.machines] == ["10.244.1.0/24", "10.244.2.0/24"]


def test_instances_share_nothing() -> None:
    layouts = [Layout(instance, nodes=2) for instance in range(10)]

    for one, other in combinations(layouts, 2):
        for first, second in ((one.node_network, other.node_network), (one.pod_cidr, other.pod_cidr)):
            assert not ipaddress.ip_network(first).overlaps(ipaddress.ip_network(second))
        assert {one.state, one.run, one.lock, one.host_link}.isdisjoint(
            {other.state, other.run, other.lock, other.host_link}
        )
        assert not {machine.namespace for machine in one.machines} & {m.namespace for m in other.machines}


def test_nothing_of_the_made_up_internet_lies_in_a_range_of_the_cluster() -> None:
    for layout in (Layout(instance) for instance in range(10)):
        for network in (layout.node_network, layout.pod_cidr, SERVICE_CIDR):
            assert all(
                ipaddress.ip_address(address) not in ipaddress.ip_network(network)
                for address in FORBIDDEN_ADDRESSES
            )


def test_link_names_fit_the_kernel() -> None:
    assert all(len(Layout(instance).host_link) <= 15 for instance in range(10))
