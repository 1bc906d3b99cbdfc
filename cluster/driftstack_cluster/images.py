"""Builds the images of operator, facade and agent; only what changed, and never twice at once."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache as cache_result
from pathlib import Path
from tempfile import TemporaryDirectory

from driftstack_cluster import image_inputs
from driftstack_cluster.image_builders import Buildah, Builder, Docker, Order
from driftstack_cluster.image_secrets import Secrets, write_secrets
from driftstack_cluster.progress import Progress
from driftstack_cluster.shell import succeeds
from driftstack_cluster.toolchain import check_room

COMPONENTS = image_inputs.COMPONENTS
ARCHIVES_KEPT = 3
_STALE_SECONDS = 30 * 24 * 3600.0
_STAMP = "packages-fetched"
_ROOM = 4 * 1024**3


@dataclass(frozen=True)
class BuiltImage:
    """An image that is ready to be loaded into a node.

    Attributes:
        component: operator, facade or agent.
        reference: name and tag; the tag is the hash of all that the image is made of.
        archive: a Docker archive, None where Docker holds the image itself.
        changed: whether it was built by this call.
    """

    component: str
    reference: str
    archive: Path | None
    changed: bool


def build(
    progress: Progress,
    checkout: Path,
    cache: Path,
    components: Sequence[str] = COMPONENTS,
    refresh: bool = False,
    archives: bool = False,
    builder: Builder | None = None,
) -> list[BuiltImage]:
    """Builds the images whose inputs have changed; without a change this takes a fraction of a second.

    Args:
        checkout: root of the repository.
        cache: the user's cache folder for Driftstack, shared by all checkouts.
        components: which images.
        refresh: fetch the current Debian packages (Chromium above all) although nothing else changed.
        archives: whether the cluster needs archives, so that Docker's own store would not do.
        builder: what builds; by default Docker where it answers and its store will do, else buildah.

    Raises:
        Precondition: no room, no build tool, or no Debian sources to build from.
        CommandFailed: a build failed; the message ends with the log's last lines.
    """
    folder = cache / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder, progress), _scratch_folder(folder) as scratch:
        builder = builder or _choose(folder, archives)
        # Debian's packages are no file of ours to hash: the time they were fetched stands for them.
        fetched = _fetched(folder, refresh, progress)
        salt = f"{builder.base_identity(progress)} {fetched}"
        inputs = [image_inputs.collect(checkout, component, salt) for component in components]
        secrets = cache_result(lambda: write_secrets(scratch))
        images = [_build_one(progress, builder, scratch, one, fetched, secrets) for one in inputs]
        # Not before: a refresh that failed must not make the images at hand stale.
        (folder / _STAMP).write_text(fetched)
        return images


def _choose(folder: Path, archives: bool) -> Builder:
    use_docker = not archives and succeeds(["docker", "info"], timeout=20)
    return Docker(folder) if use_docker else Buildah(folder)


def _build_one(
    progress: Progress,
    builder: Builder,
    scratch: Path,
    inputs: image_inputs.Inputs,
    fetched: str,
    secrets: Callable[[], Secrets],
) -> BuiltImage:
    archive = builder.find(inputs)
    if archive is not None or builder.holds(inputs):
        return BuiltImage(inputs.component, inputs.reference, archive, changed=False)
    check_room(builder.folder, _ROOM, "building images")
    with progress.step(f"Build the {inputs.component} image") as step:
        context = scratch / inputs.component
        inputs.stage(context)
        order = Order(inputs, context, secrets(), {"VERSION": inputs.version, "FETCHED": fetched})
        archive = builder.build(order, step)
        step.note(f"{archive.stat().st_size / 1e6:.0f} MB unpacked" if archive else "")
    builder.prune(inputs.component, keep=ARCHIVES_KEPT)
    return BuiltImage(inputs.component, inputs.reference, archive, changed=True)


def _fetched(folder: Path, refresh: bool, progress: Progress) -> str:
    """Returns when Debian's packages were fetched, as Unix seconds; now, if they are to be fetched."""
    stamp = folder / _STAMP
    if not stamp.exists():
        # At once: a first build that is interrupted goes on with the layers it has.
        stamp.write_text(f"{time.time():.0f}")
    if refresh:
        return f"{time.time():.0f}"
    age = time.time() - float(stamp.read_text())
    if age > _STALE_SECONDS:
        progress.warn(
            f"The images hold Debian packages, Chromium among them, of {age / 86400:.0f} days ago: "
            "`make images REFRESH=on` fetches the current ones."
        )
    return stamp.read_text()


@contextmanager
def _scratch_folder(folder: Path) -> Iterator[Path]:
    for left in folder.glob("build-*"):  # of a build that was killed; secrets are among it
        shutil.rmtree(left)
    with TemporaryDirectory(dir=folder, prefix="build-") as scratch:
        yield Path(scratch)


@contextmanager
def unless_building(cache: Path) -> Iterator[Path | None]:
    """Gives the folder of builds while nobody builds; None where somebody does, or nobody ever did."""
    folder = cache / "images"
    if not folder.is_dir():
        yield None
        return
    with (folder / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield folder


@contextmanager
def _lock(folder: Path, progress: Progress) -> Iterator[None]:
    with (folder / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.info("waiting for another build of images")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
