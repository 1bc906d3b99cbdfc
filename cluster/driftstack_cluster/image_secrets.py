"""What a build may know of this machine and an image must not: certificates and package indexes.

Behind a TLS-inspecting proxy nothing in a build stage trusts the network until it knows the proxy's
certificate. Both files are handed over as build secrets, so neither reaches a layer or the history.
"""

from __future__ import annotations

import ast
import os
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from driftstack_cluster.errors import ClusterError
from driftstack_cluster.shell import run

_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_PIP_OPTIONS = {"index-url", "extra-index-url", "trusted-host", "proxy"}


@dataclass(frozen=True)
class Secrets:
    """Files that a build sees while it runs; empty where the machine has nothing to tell."""

    certificates: Path
    pip: Path

    def arguments(self) -> list[str]:
        """As Docker and buildah both take them."""
        return [f"--secret=id=ca,src={self.certificates}", f"--secret=id=pip,src={self.pip}"]


def write_secrets(folder: Path) -> Secrets:
    """Writes both files, readable by their owner alone."""
    certificates = next((path for path in _bundles() if path.is_file()), None)
    secrets = Secrets(folder / "ca.crt", folder / "pip.conf")
    for path, content in (
        (secrets.certificates, certificates.read_bytes() if certificates else b""),
        (secrets.pip, pip_configuration(_pip_settings()).encode()),
    ):
        path.touch(mode=0o600)
        path.write_bytes(content)
    return secrets


def pip_configuration(listing: str) -> str:
    """Turns the answer of ``pip config list`` into a file that says the same about indexes.

    Lines are ``scope.option='value'``; the later scope wins, the environment (``:env:``) over all.
    """
    options: dict[str, str] = {}
    for line in sorted(listing.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in _PIP_OPTIONS:
            text = str(ast.literal_eval(value))
            options[option] = "\n  ".join(text.split())
    return "[global]\n" + "".join(f"{option} = {value}\n" for option, value in sorted(options.items()))


def _pip_settings() -> str:
    try:
        return run([sys.executable, "-m", "pip", "config", "list"], environment=os.environ, timeout=60)
    except ClusterError:
        return ""  # An environment without pip has no settings of pip either.


def _bundles() -> Iterator[Path]:
    default = ssl.get_default_verify_paths().cafile  # honours SSL_CERT_FILE
    if default is not None:
        yield Path(default)
    yield from (Path(path) for path in _BUNDLES)
