"""What an image is made of: the files, and one hash over all of them that becomes its tag."""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from driftstack_cluster.errors import Precondition

REPOSITORY = "driftstack.local"
SOURCES: Mapping[str, tuple[str, ...]] = {
    "operator": ("common/driftstack_common", "operator/driftstack_operator"),
    "facade": ("common/driftstack_common", "api/driftstack_api"),
    "agent": ("common/driftstack_common", "agent/driftstack_agent"),
}
COMPONENTS = tuple(SOURCES)
_SHARED = "images/build"
_EPOCH = 1_000_000_000
"""Modification time of every staged file: a fresh clone must hit the same cached layers."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of one image.

    Attributes:
        component: operator, facade or agent.
        version: the project's version.
        files: content by path in the build context.
        digest: 12 hex digits over all of it.
    """

    component: str
    version: str
    files: Mapping[str, bytes]
    digest: str

    @property
    def reference(self) -> str:
        """Name and tag of the image."""
        return f"{REPOSITORY}/{self.component}:{self.digest}"

    @property
    def containerfile(self) -> str:
        """Path of its Containerfile in the build context."""
        return f"images/{self.component}/Containerfile"

    def stage(self, context: Path) -> None:
        """Writes the files, and nothing else, into a folder: what isn't hashed can't be built in."""
        for name, content in self.files.items():
            target = context / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o644)
            os.utime(target, (_EPOCH, _EPOCH))
        for folder in [context, *(path for path in context.rglob("*") if path.is_dir())]:
            folder.chmod(0o755)
            os.utime(folder, (_EPOCH, _EPOCH))


def collect(checkout: Path, component: str, salt: str) -> Inputs:
    """Reads the inputs of an image.

    Args:
        checkout: root of the repository.
        component: operator, facade or agent.
        salt: identifies what comes from outside the repository.

    Raises:
        Precondition: a folder or the Containerfile is missing.
    """
    files: dict[str, bytes] = {}
    for folder in (_SHARED, f"images/{component}", *SOURCES[component]):
        files |= {name: (checkout / name).read_bytes() for name in _names(checkout, folder)}
    version = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["version"]
    digest = hashlib.sha256(f"{version} {salt}\0".encode())
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return Inputs(component, version, files, digest.hexdigest()[:12])


def _names(checkout: Path, folder: str) -> Iterator[str]:
    root = checkout / folder
    if not root.is_dir():
        raise Precondition(f"{root} is missing", "Restore it from the repository.")
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield str(path.relative_to(checkout))
