"""The command line of each of the node's processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from driftstack_cluster import containers, health
from driftstack_cluster.credentials import Credentials
from driftstack_cluster.layout import (
    CLUSTER_DOMAIN,
    DEMO_ADDRESS,
    DEMO_HOST,
    DNS_SERVICE_ADDRESS,
    POLICY_QUEUE,
    RESOLVER_ADDRESS,
    SERVICE_CIDR,
    Layout,
    Machine,
)
from driftstack_cluster.processes import Process

# The defaults (20 to 50 requests per second) would be the bottleneck of every burst of sessions.
_CLIENT_LIMITS = ("--kube-api-qps=500", "--kube-api-burst=1000")


@dataclass(frozen=True)
class Components:
    """Builds the processes of one cluster.

    Attributes:
        binary: the node binary.
        upstreams: resolvers for names that are not ours; empty without egress.
    """

    layout: Layout
    credentials: Credentials
    binary: Path
    upstreams: tuple[str, ...] = ()

    def containerd(self, machine: Machine) -> Process:
        """The container runtime."""
        configuration = containers.write_configuration(self.layout, machine)
        network_file = machine.state / "cni" / "10-driftstack.conflist"
        return Process(
            name=_name("containerd", machine),
            argv=("containerd", "--config", str(configuration)),
            namespace=machine.namespace,
            inputs=(configuration, network_file),
            is_healthy=health.accepts(machine.containerd_socket),
        )

    def etcd(self) -> Process:
        """The store. It does not flush to disk: a power cut may cost the cluster, which is rebuilt."""
        client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
        return self._control(
            "etcd",
            [
                f"--data-dir={self.layout.state / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--unsafe-no-fsync",
                "--auto-compaction-mode=periodic",
                "--auto-compaction-retention=30m",
                "--quota-backend-bytes=2147483648",
                "--log-level=warn",
            ],
            f"{client}/health",
        )

    def api_server(self) -> Process:
        """The API server."""
        credentials = self.credentials
        return self._control(
            "kube-apiserver",
            [
                "--etcd-servers=http://127.0.0.1:2379",
                f"--advertise-address={self.layout.control.address}",
                "--secure-port=6443",
                f"--service-cluster-ip-range={SERVICE_CIDR}",
                f"--client-ca-file={credentials.authority}",
                f"--tls-cert-file={credentials.api_server.certificate}",
                f"--tls-private-key-file={credentials.api_server.key}",
                f"--kubelet-certificate-authority={credentials.authority}",
                f"--kubelet-client-certificate={credentials.kubelet_client.certificate}",
                f"--kubelet-client-key={credentials.kubelet_client.key}",
                # Nodes' names are in no DNS; without this, logs and exec fail.
                "--kubelet-preferred-address-types=InternalIP",
                f"--service-account-key-file={credentials.tokens.certificate}",
                f"--service-account-signing-key-file={credentials.tokens.key}",
                f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--allow-privileged=true",
                "--profiling=false",
            ],
            "https://127.0.0.1:6443/readyz",
            inputs=(credentials.api_server.certificate, credentials.authority, credentials.tokens.key),
        )

    def controller_manager(self) -> Process:
        """The controllers, the default storage's provisioner among them."""
        return self._control(
            "kube-controller-manager",
            [
                *self._serving(),
                f"--kubeconfig={self.credentials.kubeconfigs['kube-controller-manager']}",
                f"--service-account-private-key-file={self.credentials.tokens.key}",
                f"--root-ca-file={self.credentials.authority}",
                "--use-service-account-credentials",
                "--leader-elect=false",
                f"--cluster-cidr={self.layout.pod_cidr}",
                "--enable-hostpath-provisioner",
                # A lost node's sessions end a minute after its death at the latest; the default, 50 s, is too much.
                "--node-monitor-grace-period=40s",
                *_CLIENT_LIMITS,
                "--concurrent-resource-quota-syncs=20",
                "--concurrent-gc-syncs=20",
                "--concurrent-namespace-syncs=10",
            ],
            "https://127.0.0.1:10257/healthz",
        )

    def scheduler(self) -> Process:
        """The scheduler."""
        return self._control(
            "kube-scheduler",
            [
                *self._serving(),
                f"--kubeconfig={self.credentials.kubeconfigs['kube-scheduler']}",
                "--leader-elect=false",
                *_CLIENT_LIMITS,
            ],
            "https://127.0.0.1:10259/readyz",
        )

    def kubelet(self, machine: Machine) -> Process:
        """One node's kubelet."""
        configuration = machine.state / "kubelet.yaml"
        containers.write_if_changed(configuration, self._kubelet_configuration(machine))
        credentials = self.credentials
        return Process(
            name=_name("kubelet", machine),
            argv=(
                str(self.binary),
                "kubelet",
                f"--kubeconfig={credentials.kubeconfigs[f'kubelet-{machine.name}']}",
                f"--config={configuration}",
                f"--root-dir={machine.kubelet_root}",
                f"--cert-dir={machine.kubelet_root / 'pki'}",
                f"--hostname-override={machine.name}",
                f"--node-ip={machine.address}",
            ),
            namespace=machine.namespace,
            inputs=(configuration, credentials.kubelets[machine.name].certificate),
            is_healthy=health.answers(machine.namespace, "http://127.0.0.1:10248/healthz"),
        )

    def proxy(self, machine: Machine) -> Process:
        """One node's service proxy. It ends when the node's address first appears: start it after that."""
        return Process(
            name=_name("kube-proxy", machine),
            argv=(
                str(self.binary),
                "kube-proxy",
                f"--kubeconfig={self.credentials.kubeconfigs['kube-proxy']}",
                f"--hostname-override={machine.name}",
                f"--cluster-cidr={self.layout.pod_cidr}",
                "--proxy-mode=iptables",
                "--iptables-min-sync-period=100ms",
                # The host's connection tracking table is not ours to size.
                "--conntrack-max-per-core=0",
                "--conntrack-tcp-timeout-established=0",
                "--conntrack-tcp-timeout-close-wait=0",
            ),
            namespace=machine.namespace,
            is_healthy=health.answers(machine.namespace, "http://127.0.0.1:10256/healthz"),
        )

    def network_policies(self, machine: Machine) -> Process:
        """One node's judge of first packets."""
        return Process(
            name=_name("network-policies", machine),
            argv=(
                str(self.binary),
                "network-policies",
                f"--kubeconfig={self.credentials.kubeconfigs['network-policies']}",
                f"--hostname-override={machine.name}",
                f"--nfqueue-id={POLICY_QUEUE}",
            ),
            namespace=machine.namespace,
            is_healthy=health.answers(machine.namespace, "http://127.0.0.1:9081/healthz"),
        )

    def dns(self) -> Process:
        """The cluster's DNS, and the resolver for browsers, which knows no cluster name."""
        corefile = self.layout.state / "Corefile"
        containers.write_if_changed(corefile, self._corefile())
        return self._control(
            "coredns", [f"-conf={corefile}", "-quiet"], "http://127.0.0.1:8181/ready", inputs=(corefile,)
        )

    def _control(self, name: str, flags: list[str], url: str, inputs: tuple[Path, ...] = ()) -> Process:
        namespace = self.layout.control.namespace
        return Process(
            name=name,
            argv=(str(self.binary), name, *flags),
            namespace=namespace,
            inputs=inputs,
            is_healthy=health.answers(namespace, url, self.credentials.authority),
        )

    def _serving(self) -> list[str]:
        # A certificate of ours, so that health checks can verify it and none is written elsewhere.
        pair = self.credentials.api_server
        return [
            "--bind-address=127.0.0.1",
            f"--tls-cert-file={pair.certificate}",
            f"--tls-private-key-file={pair.key}",
        ]

    def _kubelet_configuration(self, machine: Machine) -> str:
        pair = self.credentials.kubelets[machine.name]
        return yaml.safe_dump(
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "address": machine.address,
                "authentication": {
                    "anonymous": {"enabled": False},
                    "webhook": {"enabled": True},
                    "x509": {"clientCAFile": str(self.credentials.authority)},
                },
                "authorization": {"mode": "Webhook"},
                "tlsCertFile": str(pair.certificate),
                "tlsPrivateKeyFile": str(pair.key),
                "containerRuntimeEndpoint": f"unix://{machine.containerd_socket}",
                "clusterDNS": [DNS_SERVICE_ADDRESS],
                "clusterDomain": CLUSTER_DOMAIN,
                "resolvConf": str(containers.resolver_file(machine, RESOLVER_ADDRESS)),
                "cgroupDriver": "cgroupfs",
                "cgroupRoot": machine.cgroup,
                # Machines without systemd, and older ones, still have control groups v1.
                "failCgroupV1": False,
                "failSwapOn": False,
                "enforceNodeAllocatable": [],
                "localStorageCapacityIsolation": False,
                "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1Gi"},
                # Images are loaded by hand here: what the collector removed would be gone for good.
                "imageGCHighThresholdPercent": 100,
                "imageGCLowThresholdPercent": 99,
                "podLogsDir": str(machine.state / "pod-logs"),
                "volumePluginDir": str(machine.state / "volume-plugins"),
                "staticPodPath": "",
                "maxPods": 200,
                "podPidsLimit": 1024,
                "kubeAPIQPS": 500,
                "kubeAPIBurst": 1000,
                "eventRecordQPS": 500,
                "eventBurst": 1000,
                "serializeImagePulls": True,
                "rotateCertificates": False,
                "shutdownGracePeriod": "0s",
            },
            sort_keys=True,
        )

    def _corefile(self) -> str:
        address = self.layout.control.address
        zones = f"{CLUSTER_DOMAIN} {_reverse(self.layout.pod_cidr)} {_reverse(SERVICE_CIDR)}"
        kubeconfig = self.credentials.kubeconfigs["coredns"]
        kubernetes = ["errors", "ready 127.0.0.1:8181", f"kubernetes {{ kubeconfig {kubeconfig}; ttl 5 }}"]
        hosts = ["errors", f"hosts {{ {DEMO_ADDRESS} {DEMO_HOST}; ttl 30 }}"]
        onward = f"forward . {' '.join(self.upstreams)}" if self.upstreams else _NO_SUCH_NAME
        # The hosts plugin refuses what it does not know, hence a server block per zone.
        blocks = [_server(zones, address, kubernetes)]
        for listen in (address, RESOLVER_ADDRESS):
            blocks.append(_server(DEMO_HOST, listen, hosts))
            blocks.append(_server(".", listen, ["errors", onward, "cache 30"]))
        return "".join(blocks)


_NO_SUCH_NAME = "template ANY ANY { rcode NXDOMAIN }"


def _server(zones: str, address: str, directives: list[str]) -> str:
    text = " ".join(zone + ":53" for zone in zones.split()) + " {\n"
    for line in (f"bind {address}", *directives):
        block = line.replace("{ ", "{\n        ").replace("; ", "\n        ").replace(" }", "\n    }")
        text += f"    {block}\n"
    return text + "}\n"


def _reverse(cidr: str) -> str:
    """The reverse zone of a /16."""
    first, second = cidr.split(".")[:2]
    return f"{second}.{first}.in-addr.arpa"


def _name(component: str, machine: Machine) -> str:
    return component if machine.number == 1 else f"{component}-{machine.number}"
