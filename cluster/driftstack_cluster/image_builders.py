"""The two programs that build images: Docker where it answers, otherwise buildah."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from driftstack_cluster.errors import CommandFailed, Precondition
from driftstack_cluster.image_base import make_base
from driftstack_cluster.image_inputs import REPOSITORY, Inputs
from driftstack_cluster.image_secrets import Secrets
from driftstack_cluster.progress import Progress, Step
from driftstack_cluster.shell import run, succeeds

DOCKER_BASE = "debian:bookworm-slim"
BUILDAH_BASE = f"{REPOSITORY}/base:bookworm"
LOG_LINES = 30
LAYERS_BYTES = 10 * 1024**3
"""When cached layers take more than this, those without an image go; the next build is a cold one."""
_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_HINT = (
    "If packages could not be fetched: they come from this machine's Debian sources and Python index, so see "
    "whether apt-get and pip work here. Finished layers are kept: run the command again to go on."
)


@dataclass(frozen=True)
class Order:
    """One build.

    Attributes:
        inputs: what it is made of.
        context: folder with exactly these files.
        secrets: what the build may see of this machine.
        arguments: values of the Containerfile's ARG lines.
    """

    inputs: Inputs
    context: Path
    secrets: Secrets
    arguments: Mapping[str, str]

    def words(self, base: str) -> list[str]:
        """The part of a build's command line that Docker and buildah share."""
        values = {"BASE": base, **self.arguments}
        return [
            *(f"--build-arg={name}={value}" for name, value in values.items()),
            *self.secrets.arguments(),
            f"--file={self.context / self.inputs.containerfile}",
            f"--tag={self.inputs.reference}",
            str(self.context),
        ]


class Builder(Protocol):
    """A program that builds images."""

    @property
    def folder(self) -> Path:
        """Where logs, archives and layers are kept."""

    def base_identity(self, progress: Progress) -> str:
        """Identifies the image that builds start from; fetches or makes it if need be."""

    def find(self, inputs: Inputs) -> Path | None:
        """The archive of an earlier build of the same inputs."""

    def holds(self, inputs: Inputs) -> bool:
        """Whether the builder's own store, to which the cluster has access, has the image."""

    def build(self, order: Order, step: Step) -> Path | None:
        """Builds an image; returns its archive if the cluster needs one."""

    def prune(self, component: str, keep: int) -> None:
        """Forgets all but the newest images of a component."""


@dataclass(frozen=True)
class Docker:
    """Docker with BuildKit; kind takes the images from Docker's store."""

    folder: Path

    def base_identity(self, progress: Progress) -> str:
        """The identity of Debian's image, pulled once."""
        inspect = ["docker", "image", "inspect", "--format={{.Id}}", DOCKER_BASE]
        if not succeeds(inspect):
            with progress.step("Pull the base image"):
                run(["docker", "pull", "--quiet", DOCKER_BASE], environment=os.environ, timeout=1200)
        return run(inspect).strip()

    def find(self, inputs: Inputs) -> Path | None:
        """Nothing: Docker keeps images in its store."""
        return None

    def holds(self, inputs: Inputs) -> bool:
        """Whether Docker's store has the image."""
        return succeeds(["docker", "image", "inspect", inputs.reference])

    def build(self, order: Order, step: Step) -> None:
        """Builds into Docker's store."""
        # Docker takes the value of a proxy argument from the environment; unset ones are ignored.
        proxies = [f"--build-arg={name}" for name in _PROXY_VARIABLES if name in os.environ]
        argv = ["docker", "build", "--progress=plain", *proxies, *order.words(DOCKER_BASE)]
        run_logged(argv, self.folder / f"{order.inputs.component}.log", {**os.environ, "DOCKER_BUILDKIT": "1"})

    def prune(self, component: str, keep: int) -> None:
        """Removes the tags of older images; layers go with Docker's own pruning."""
        listing = run(["docker", "images", "--format={{.Repository}}:{{.Tag}}", f"{REPOSITORY}/{component}"])
        for reference in listing.split()[keep:]:
            succeeds(["docker", "rmi", reference])


class Buildah:
    """Buildah with a store of its own below the cache folder; nothing of the host's is touched."""

    def __init__(self, folder: Path, run_folder: Path = Path("/run/driftstack-images")) -> None:
        self.folder = folder
        self._scratch = folder / "tmp"
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        for part in folder.glob("*.part"):
            part.unlink()
        driver = _storage_driver(folder)
        options = ["--storage-opt=overlay.skip_mount_home=true"] if driver == "overlay" else []
        self._program = [
            "buildah",
            f"--root={folder / 'layers'}",
            # In memory: what it records are mounts, and they are gone after a reboot.
            f"--runroot={run_folder}",
            f"--storage-driver={driver}",
            # Without it the store stays mounted on itself for ever.
            *options,
        ]

    def base_identity(self, progress: Progress) -> str:
        """The identity of the base, made of Debian's packages once."""
        found = self._base_id()
        if found:
            return found
        with progress.step("Make a base image of Debian's packages") as step:
            archive = self._scratch / "base.tar"
            try:
                make_base(archive, lambda argv: run_logged(argv, self.folder / "base.log", os.environ))
                step.note(f"{archive.stat().st_size / 1e6:.0f} MB")
                self._import_base(archive)
                # Asked anew: a commit says its id without "sha256:", and the images would be others next time.
                return self._base_id()
            finally:
                archive.unlink(missing_ok=True)

    def find(self, inputs: Inputs) -> Path | None:
        """The archive, if it is there; finding it counts as use."""
        archive = self._archive(inputs)
        if not archive.exists():
            return None
        archive.touch()
        return archive

    def holds(self, inputs: Inputs) -> bool:
        """Never: the cluster reads archives."""
        return False

    def build(self, order: Order, step: Step) -> Path:
        """Builds, and writes a Docker archive."""
        log = self.folder / f"{order.inputs.component}.log"
        argv = [*self._program, "build", "--isolation=chroot", "--layers", "--pull-never"]
        # A build that failed or was killed leaves containers, and their mounts, behind.
        self._run("rm", "--all")
        try:
            run_logged([*argv, *order.words(BUILDAH_BASE)], log, self._environment())
        finally:
            self._run("rm", "--all")
        step.note("writing the archive")
        archive = self._archive(order.inputs)
        part = archive.with_suffix(".part")
        reference = order.inputs.reference
        self._run("push", "--quiet", reference, f"docker-archive:{part}:{reference}")
        part.replace(archive)
        return archive

    def prune(self, component: str, keep: int) -> None:
        """Removes the older archives, and the tags of images without an archive."""
        archives = sorted(self.folder.glob(f"{component}-*.tar"), key=lambda path: path.stat().st_mtime)
        for archive in archives[:-keep]:
            archive.unlink()
        kept = {f"{REPOSITORY}/{path.stem.replace('-', ':')}" for path in archives[-keep:]}
        for reference in self._run("images", "--format={{.Name}}:{{.Tag}}").split():
            if reference.startswith(f"{REPOSITORY}/{component}:") and reference not in kept:
                self._run("rmi", reference)
        if self._layers_size() > LAYERS_BYTES:
            self._run("rmi", "--prune")

    def _base_id(self) -> str:
        words = ("images", "--no-trunc", "--format={{.ID}}", "--filter", f"reference={BUILDAH_BASE}")
        return next(iter(self._run(*words).split()), "")

    def _import_base(self, archive: Path) -> None:
        container = self._run("from", "scratch").strip()
        try:
            self._run("add", "--quiet", container, str(archive), "/")
            self._run("commit", "--quiet", container, BUILDAH_BASE)
        finally:
            self._run("rm", container)

    def _layers_size(self) -> int:
        return int(
            run(["du", "--summarize", "--one-file-system", "--block-size=1", self.folder / "layers"]).split()[0]
        )

    def _archive(self, inputs: Inputs) -> Path:
        return self.folder / f"{inputs.component}-{inputs.digest}.tar"

    def _run(self, *words: str) -> str:
        return run([*self._program, *words], environment=self._environment(), timeout=600)

    def _environment(self) -> dict[str, str]:
        # Large temporary files belong on the disk whose room was checked.
        return {**os.environ, "TMPDIR": str(self._scratch)}


def run_logged(argv: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    """Runs a program whose output is long; all of it goes into a file.

    Raises:
        CommandFailed: it ended with an error; the message holds the last lines.
        Precondition: it is not installed.
    """
    with log.open("wb") as file:
        try:
            done = subprocess.run(
                list(argv), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=dict(environment), check=False
            )
        except FileNotFoundError as error:
            raise Precondition(f"{argv[0]} is not installed", "Install it, or start Docker.") from error
    if done.returncode != 0:
        lines = log.read_text(errors="replace").splitlines()
        raise BuildFailed(argv[0], done.returncode, lines[-LOG_LINES:], log)


class BuildFailed(CommandFailed):
    """A build ended with an error."""

    def __init__(self, program: str, code: int, lines: Sequence[str], log: Path) -> None:
        super().__init__(program, code, "", f"The whole log: {log}\n{_HINT}")
        self.args = ("\n".join([f"{program} ended with {code}", *lines]),)
        self.output = "\n".join(lines)


def _storage_driver(folder: Path) -> str:
    """Overlay where the kernel mounts it on this file system, which is fast; copies elsewhere."""
    for driver in ("overlay", "vfs"):
        if (folder / "layers" / driver).exists():
            return driver
    probe = folder / "probe"
    for name in ("lower", "upper", "work", "merged"):
        (probe / name).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={probe}/lower,upperdir={probe}/upper,workdir={probe}/work"
    mounted = succeeds(["mount", "-t", "overlay", "overlay", "-o", options, probe / "merged"])
    if mounted:
        run(["umount", probe / "merged"])
    shutil.rmtree(probe)
    return "overlay" if mounted else "vfs"
