"""All keys, certificates and kubeconfigs of an embedded cluster."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import yaml

from driftstack_cluster.certificates import Authority, Subject, signing_key, write_atomically
from driftstack_cluster.layout import API_SERVICE_ADDRESS, CLUSTER_DOMAIN, Layout, Machine

_CLIENTS = {
    "admin": Subject("admin", "kubernetes-admin", "system:masters"),
    "kube-controller-manager": Subject("kube-controller-manager", "system:kube-controller-manager"),
    "kube-scheduler": Subject("kube-scheduler", "system:kube-scheduler"),
    "kube-proxy": Subject("kube-proxy", "system:kube-proxy"),
    "coredns": Subject("coredns", "driftstack:dns"),
    "network-policies": Subject("network-policies", "driftstack:network-policies"),
}


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Credentials:
    """Where everything lies.

    Attributes:
        authority: certificate of the one authority.
        api_server: serving pair of the API server and of the controllers beside it.
        kubelet_client: how the API server shows itself to kubelets.
        tokens: private and public key of service account tokens, as `certificate` = public.
        kubelets: by node name, client and serving pair in one.
        kubeconfigs: by component name; kubelets as `kubelet-<node>`.
    """

    authority: Path
    api_server: Pair
    kubelet_client: Pair
    tokens: Pair
    kubelets: dict[str, Pair]
    kubeconfigs: dict[str, Path]


def prepare(layout: Layout) -> Credentials:
    """Issues what is missing or near its end."""
    authority = Authority(layout.certificates)
    token_private, token_public = signing_key(layout.certificates, "service-accounts")
    kubelets = {machine.name: Pair(*authority.issue(_kubelet(machine))) for machine in layout.machines}
    kubeconfigs = {
        name: _write_kubeconfig(layout, authority, name, Pair(*authority.issue(subject)))
        for name, subject in _CLIENTS.items()
    }
    for name, pair in kubelets.items():
        kubeconfigs[f"kubelet-{name}"] = _write_kubeconfig(layout, authority, f"kubelet-{name}", pair)
    return Credentials(
        authority=authority.certificate_file,
        api_server=Pair(*authority.issue(_api_server(layout))),
        kubelet_client=Pair(
            *authority.issue(Subject("kubelet-client", "kube-apiserver-kubelet-client", "system:masters"))
        ),
        tokens=Pair(certificate=token_public, key=token_private),
        kubelets=kubelets,
        kubeconfigs=kubeconfigs,
    )


def _api_server(layout: Layout) -> Subject:
    names = (
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{CLUSTER_DOMAIN}",
        "127.0.0.1",
        layout.control.address,
        API_SERVICE_ADDRESS,
    )
    return Subject("kube-apiserver", "kube-apiserver", names=names)


def _kubelet(machine: Machine) -> Subject:
    return Subject(
        f"kubelet-{machine.name}",
        f"system:node:{machine.name}",
        "system:nodes",
        names=(machine.name, machine.address),
    )


def _write_kubeconfig(layout: Layout, authority: Authority, name: str, pair: Pair) -> Path:
    file = layout.certificates / f"{name}.kubeconfig"
    content = yaml.safe_dump(kubeconfig(layout.api_url, authority.certificate_file, pair)).encode()
    if not file.exists() or file.read_bytes() != content:
        write_atomically(file, content)
    return file


def kubeconfig(server: str, authority: Path, pair: Pair) -> dict[str, object]:
    """A kubeconfig with everything inside, so that it may be copied anywhere."""

    def encoded(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "driftstack",
                "cluster": {"server": server, "certificate-authority-data": encoded(authority)},
            }
        ],
        "users": [
            {
                "name": "driftstack",
                "user": {
                    "client-certificate-data": encoded(pair.certificate),
                    "client-key-data": encoded(pair.key),
                },
            }
        ],
        "contexts": [{"name": "driftstack", "context": {"cluster": "driftstack", "user": "driftstack"}}],
        "current-context": "driftstack",
    }
