"""Network namespaces, links and routes of an embedded cluster.

    host  driftstack0 ----- bridge `nodes` in the namespace of `local` ----- namespace of `local-2`
          10.254.254.1      10.254.254.2                                     10.254.254.3

The bridge lies inside the first node's namespace, so the host's firewall never sees traffic between
nodes. Each function brings about a state and may be called again.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Iterable

from driftstack_cluster import namespaces
from driftstack_cluster.errors import ClusterError, CommandFailed, Precondition
from driftstack_cluster.layout import (
    DEMO_ADDRESS,
    FORBIDDEN_ADDRESSES,
    RESOLVER_ADDRESS,
    Layout,
    Machine,
)
from driftstack_cluster.shell import run

_BRIDGE = "nodes"
# Without one of its own, a bridge changes its address with its ports, and the host's idea of it is stale.
_BRIDGE_ADDRESS = "02:00:0a:fe:fe:02"
# Not every kernel has dummy links; loopback carries addresses just as well.
_OUTSIDE = "lo"
_UPLINK = "eth0"
# Answers that are not ours but must not leave through the host either.
ANSWERING = (DEMO_ADDRESS, RESOLVER_ADDRESS, *FORBIDDEN_ADDRESSES)

# IPv6 would be a way round the policies (link-local reaches the node past the queue), and nothing
# here needs it. The bridge must not hand its frames to this namespace's own rules a second time.
_SYSCTLS = {
    "net.ipv6.conf.all.disable_ipv6": "1",
    "net.ipv6.conf.default.disable_ipv6": "1",
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.bridge.bridge-nf-call-iptables": "0",
    "net.ipv4.neigh.default.gc_thresh3": "4096",
}
_MAY_BE_MISSING = ("net.ipv6.", "net.bridge.", "net.ipv4.neigh.")


def ensure(layout: Layout, egress: bool) -> None:
    """Makes namespaces, links, addresses and routes.

    Raises:
        Precondition: an address range is in use on this machine.
    """
    check_ranges(layout)
    for machine in layout.machines:
        ensure_namespace(machine.namespace)
    control = layout.control
    if not _has_link(control.namespace, _BRIDGE):
        _inside(control, "ip", "link", "add", _BRIDGE, "type", "bridge")
    _inside(control, "ip", "link", "set", _BRIDGE, "address", _BRIDGE_ADDRESS)
    _address(control, _BRIDGE, f"{control.address}/24")
    _ensure_outside(control)
    _ensure_host_link(layout)
    for machine in layout.machines[1:]:
        _ensure_second(layout, machine)
    _ensure_routes(layout, egress)


def check_ranges(layout: Layout) -> None:
    """Refuses to start where the ranges overlap a route of the host.

    Raises:
        Precondition: with the route and the way out.
    """
    ours = [ipaddress.ip_network(layout.node_network), ipaddress.ip_network(layout.pod_cidr)]
    for route in json.loads(run(["ip", "-j", "-4", "route", "show"]) or "[]"):
        if route.get("dev") == layout.host_link or route.get("dst") == "default":
            continue
        with contextlib.suppress(ValueError):
            used = ipaddress.ip_network(str(route["dst"]), strict=False)
            if any(used.overlaps(network) for network in ours):
                raise Precondition(
                    f"the address range {used} is already routed to {route.get('dev')}, "
                    f"and the cluster uses {layout.node_network} and {layout.pod_cidr}",
                    "Use other ranges with INSTANCE=1 to 9, or remove that route.",
                )


def ensure_namespace(name: str) -> None:
    """Makes a namespace with its sysctls, unless it is there."""
    if namespaces.exists(name):
        return
    # A leftover without a mount is what a reboot or a crash leaves.
    namespaces.path(name).unlink(missing_ok=True)
    run(["ip", "netns", "add", name])
    run([*_enter(name), "ip", "link", "set", "lo", "up"])
    for key, value in _SYSCTLS.items():
        try:
            run([*_enter(name), "sysctl", "-q", "-w", f"{key}={value}"])
        except CommandFailed:
            if not key.startswith(_MAY_BE_MISSING):
                raise
    if namespaces.inside(name, _has_ipv6):
        raise ClusterError("IPv6 stays on in the node's namespace: browsers could reach the node past the policies")


def remove(layout: Layout) -> None:
    """Takes away namespaces, the host's link and with them all routes."""
    for machine in (Machine(layout.instance, 2), Machine(layout.instance, 1)):
        if namespaces.path(machine.namespace).exists():
            run(["ip", "netns", "del", machine.namespace])
    with contextlib.suppress(CommandFailed):
        run(["ip", "link", "del", layout.host_link])


def _ensure_host_link(layout: Layout) -> None:
    control = layout.control
    if not (_has_link(None, layout.host_link) and _has_link(control.namespace, _UPLINK)):
        with contextlib.suppress(CommandFailed):
            run(["ip", "link", "del", layout.host_link])
        pair = ["type", "veth", "peer", "name", _UPLINK, "netns", control.namespace]
        run(["ip", "link", "add", layout.host_link, *pair])
    run(["ip", "address", "replace", f"{layout.host_address}/24", "dev", layout.host_link])
    run(["ip", "link", "set", layout.host_link, "up"])
    _inside(control, "ip", "link", "set", _UPLINK, "master", _BRIDGE, "up")


def _ensure_second(layout: Layout, machine: Machine) -> None:
    port = f"to-{machine.name}"
    control = layout.control
    if not (_has_link(control.namespace, port) and _has_link(machine.namespace, _UPLINK)):
        with contextlib.suppress(CommandFailed):
            _inside(control, "ip", "link", "del", port)
        peer = ["type", "veth", "peer", "name", _UPLINK, "netns", machine.namespace]
        _inside(control, "ip", "link", "add", port, *peer)
    _inside(control, "ip", "link", "set", port, "master", _BRIDGE, "up")
    _address(machine, _UPLINK, f"{machine.address}/24")


def _ensure_outside(control: Machine) -> None:
    for address in ANSWERING:
        _address(control, _OUTSIDE, f"{address}/32")


def _ensure_routes(layout: Layout, egress: bool) -> None:
    control = layout.control
    run(["ip", "route", "replace", layout.pod_cidr, "via", control.address, "dev", layout.host_link])
    for machine in layout.machines[1:]:
        _route(control, machine.pod_cidr, machine.address)
        for destination in (control.pod_cidr, *(f"{address}/32" for address in ANSWERING)):
            _route(machine, destination, control.address)
    for machine in layout.machines:
        if egress:
            _route(machine, "default", layout.host_address)
        else:
            with contextlib.suppress(CommandFailed):
                _inside(machine, "ip", "route", "del", "default")


def _route(machine: Machine, destination: str, gateway: str) -> None:
    _inside(machine, "ip", "route", "replace", destination, "via", gateway)


def _address(machine: Machine, link: str, address: str) -> None:
    _inside(machine, "ip", "address", "replace", address, "dev", link)
    _inside(machine, "ip", "link", "set", link, "up")


def _inside(machine: Machine, *argv: str) -> str:
    return run(_enter(machine.namespace) + list(argv))


def _enter(namespace: str) -> list[str]:
    return ["nsenter", f"--net={namespaces.path(namespace)}", "--"]


def _has_link(namespace: str | None, link: str) -> bool:
    try:
        run([*(_enter(namespace) if namespace else []), "ip", "link", "show", link])
    except CommandFailed:
        return False
    return True


def _has_ipv6() -> bool:
    """Whether any interface of the calling thread's namespace has an IPv6 address beside loopback's."""
    try:
        with open("/proc/thread-self/net/if_inet6") as file:
            return any(not _is_loopback(line.split()) for line in file)
    except FileNotFoundError:
        return False


def _is_loopback(fields: Iterable[str]) -> bool:
    return list(fields)[-1] == "lo"
