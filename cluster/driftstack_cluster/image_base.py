"""The base of builds without Docker: a minimal Debian made of the machine's own package sources.

No mirror is named here. Which archive serves this machine, through which proxy and under which
certificate, apt already knows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from driftstack_cluster.errors import Precondition
from driftstack_cluster.shell import run

RELEASE = "bookworm"
SUITES = (RELEASE, f"{RELEASE}-updates", f"{RELEASE}-security")
"""All three are needed: the current Chromium is in the security archive alone."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_FORMAT = "$(ORIGIN)\t$(CODENAME)\t$(COMPONENT)\t$(REPO_URI)"
_COMPONENT = "main"
_INHERITED_OPTIONS = (
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
)


def make_base(archive: Path, execute: Callable[[Sequence[str]], None]) -> None:
    """Writes the root file system of a minimal Debian as a tar file.

    Args:
        archive: the file to write.
        execute: runs a command whose output is long.

    Raises:
        Precondition: apt's sources lack a suite of the release.
        CommandFailed: mmdebstrap failed.
    """
    # With the whole environment: a proxy may be set there.
    update = ["apt-get", "--quiet", "--quiet", "update"]
    run(update, environment=os.environ, timeout=600, hint="`apt-get update` must work.")
    listing = run(["apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"])
    options = inherited_options(run(["apt-config", "dump"]))
    execute(command(archive, debian_sources(listing), options))


def debian_sources(listing: str) -> list[str]:
    """Picks Debian's own sources out of what apt has; other vendors' are left aside.

    Args:
        listing: lines of origin, codename, component and address, parted by tabs.

    Returns:
        One-line sources for the suites of the release.

    Raises:
        Precondition: a suite is missing.
    """
    addresses: dict[str, str] = {}
    for line in listing.splitlines():
        origin, codename, component, address = line.split("\t")
        if origin == "Debian" and component == _COMPONENT:
            addresses.setdefault(codename, address)
    missing = [suite for suite in SUITES if suite not in addresses]
    if missing:
        raise Precondition(
            f"images are made of Debian {RELEASE}, and apt has no source for {', '.join(missing)}",
            "Add it to apt's sources (component main) and run `apt-get update`, or start Docker.",
        )
    return [f"deb [signed-by={KEYRING}] {addresses[suite]} {suite} {_COMPONENT}" for suite in SUITES]


def inherited_options(dump: str) -> list[str]:
    """Picks from apt's settings those without which the archive can't be reached."""
    return [line for line in dump.splitlines() if line.split(" ", 1)[0] in _INHERITED_OPTIONS]


def command(archive: Path, sources: Sequence[str], options: Sequence[str]) -> list[str]:
    """Returns the call of mmdebstrap."""
    return [
        "mmdebstrap",
        "--variant=apt",
        "--format=tar",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/info/*",
        *(f"--aptopt={option}" for option in options),
        RELEASE,
        str(archive),
        *sources,
    ]
