"""Netfilter rules: the queue that network policies are judged by, and NAT when egress is on."""

from __future__ import annotations

import contextlib
from pathlib import Path

from driftstack_cluster import namespaces
from driftstack_cluster.errors import CommandFailed
from driftstack_cluster.layout import POLICY_QUEUE, Layout, Machine
from driftstack_cluster.shell import run

_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def policy_rules(layout: Layout) -> str:
    """The rules, for iptables-restore.

    All first packets from or to a pod go to the queue: those that are forwarded or leave the node in
    POSTROUTING, those to the node itself in INPUT. What the node's own root sends (the kubelet's
    probes) is exempt; the exemption is unreachable from INPUT, where no packet has an owner.
    """
    queue = f"-j NFQUEUE --queue-num {POLICY_QUEUE}"
    return "\n".join(
        [
            "*mangle",
            ":DRIFTSTACK-SENT - [0:0]",
            ":DRIFTSTACK-JUDGE - [0:0]",
            "-F DRIFTSTACK-SENT",
            "-F DRIFTSTACK-JUDGE",
            "-A DRIFTSTACK-SENT -m owner --uid-owner 0 -j RETURN",
            "-A DRIFTSTACK-SENT -j DRIFTSTACK-JUDGE",
            "-A DRIFTSTACK-JUDGE -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN",
            f"-A DRIFTSTACK-JUDGE -s {layout.pod_cidr} {queue}",
            f"-A DRIFTSTACK-JUDGE -d {layout.pod_cidr} {queue}",
            "COMMIT",
            "",
        ]
    )


def ensure_policies(layout: Layout, machine: Machine) -> bool:
    """Puts the rules in place; false where this kernel cannot hand packets to a queue."""
    enter = ["nsenter", f"--net={namespaces.path(machine.namespace)}", "--"]
    try:
        run([*enter, "iptables-restore", "--noflush"], stdin=policy_rules(layout))
    except CommandFailed:
        return False
    for chain, target in (("POSTROUTING", "DRIFTSTACK-SENT"), ("INPUT", "DRIFTSTACK-JUDGE")):
        _ensure_rule([*enter, "iptables", "-w", "-t", "mangle"], [chain, "-j", target])
    return True


def ensure_egress(layout: Layout, wanted: bool, state: Path) -> None:
    """Lets the nodes out through the host with NAT, or takes that back.

    Args:
        layout: the cluster.
        wanted: whether nodes may reach beyond this machine.
        state: file that keeps the host's own forwarding switch meanwhile.
    """
    if wanted:
        if not state.exists():
            state.write_text(_FORWARDING.read_text())
        _FORWARDING.write_text("1\n")
        for table, rule in _egress_rules(layout):
            _ensure_rule(["iptables", "-w", "-t", table], rule, first=table == "filter")
    elif state.exists():
        for table, rule in _egress_rules(layout):
            with contextlib.suppress(CommandFailed):
                run(["iptables", "-w", "-t", table, "-D", *rule])
        _FORWARDING.write_text(state.read_text())
        state.unlink()


def _egress_rules(layout: Layout) -> list[tuple[str, list[str]]]:
    comment = ["-m", "comment", "--comment", layout.prefix]
    link = layout.host_link
    masquerade = ["!", "-o", link, *comment, "-j", "MASQUERADE"]
    answers = ["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED"]
    return [
        ("nat", ["POSTROUTING", "-s", layout.node_network, *masquerade]),
        ("nat", ["POSTROUTING", "-s", layout.pod_cidr, *masquerade]),
        ("filter", ["FORWARD", "-i", link, *comment, "-j", "ACCEPT"]),
        ("filter", ["FORWARD", "-o", link, *answers, *comment, "-j", "ACCEPT"]),
    ]


def _ensure_rule(command: list[str], rule: list[str], first: bool = False) -> None:
    try:
        run([*command, "-C", *rule])
    except CommandFailed:
        run([*command, "-I" if first else "-A", *rule])
