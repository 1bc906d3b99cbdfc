"""The container runtime of one node: its configuration, the pod network, and images."""

from __future__ import annotations

import json
import re
from pathlib import Path

from driftstack_cluster.certificates import write_atomically
from driftstack_cluster.layout import Layout, Machine
from driftstack_cluster.shell import run

PAUSE_IMAGE = "driftstack.local/pause:1"
PLUGINS = Path("/usr/lib/cni")


def runtime_config(machine: Machine) -> str:
    """Containerd's configuration: everything below the node's own folders.

    The out-of-memory score is left alone (that takes CAP_SYS_RESOURCE, which containers of a cloud
    shell lack), and pods' network namespaces are mounted under the state folder, so that removing
    the folder removes them.
    """
    run_folder, state = machine.run, machine.state
    return f"""version = 2
root = "{state}/containerd"
state = "{run_folder}/containerd"
oom_score = 0

[grpc]
  address = "{machine.containerd_socket}"

[ttrpc]
  address = "{machine.containerd_socket}.ttrpc"

[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/containerd-opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  max_concurrent_downloads = 1

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{state}/cni"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{run_folder}/runc"
"""


def pod_network(layout: Layout, machine: Machine) -> str:
    """The pod network: a veth pair per pod, routed; no IPv6 on the pod's side."""
    configuration = {
        "cniVersion": "0.4.0",
        "name": layout.prefix,
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "mtu": 1500,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(machine.run / "addresses"),
                    "ranges": [[{"subnet": machine.pod_cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "tuning", "sysctl": {"net.ipv6.conf.eth0.disable_ipv6": "1"}},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    return json.dumps(configuration, indent=2)


def write_configuration(layout: Layout, machine: Machine) -> Path:
    """Writes both configurations; returns containerd's."""
    file = machine.state / "containerd.toml"
    write_if_changed(file, runtime_config(machine))
    write_if_changed(machine.state / "cni" / "10-driftstack.conflist", pod_network(layout, machine))
    return file


def write_if_changed(file: Path, content: str) -> None:
    """Writes a text file unless it says that already."""
    if not file.exists() or file.read_text() != content:
        write_atomically(file, content.encode(), mode=0o644)


def image_names(machine: Machine) -> set[str]:
    """References of all images the node has."""
    return set(_ctr(machine, "images", "list", "-q").split())


def has_image(machine: Machine, reference: str) -> bool:
    """Whether the node has an image, with everything that belongs to it."""
    listing = _ctr(machine, "images", "check", f"name=={reference}")
    return any(line.startswith(reference) and " complete " in line for line in listing.splitlines())


def import_image(machine: Machine, archive: Path, reference: str) -> None:
    """Loads an OCI or Docker archive under the given reference."""
    before = image_names(machine)
    output = _ctr(machine, "images", "import", str(archive))
    if reference in image_names(machine):
        return
    # An archive without a name, or with another one: name what it brought.
    found = re.search(r"unpacking (\S+)", output)
    new = sorted(image_names(machine) - before)
    _ctr(machine, "images", "tag", "--force", found.group(1) if found else new[0], reference)


def _ctr(machine: Machine, *argv: str) -> str:
    return run(["ctr", "-a", machine.containerd_socket, "-n", "k8s.io", *argv], timeout=300)


def resolver_file(machine: Machine, resolver: str) -> Path:
    """The resolv.conf that pods with `dnsPolicy: Default` get."""
    file = machine.state / "resolv.conf"
    write_if_changed(file, f"nameserver {resolver}\noptions ndots:1\n")
    return file
