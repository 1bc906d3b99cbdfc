"""The binaries of the node, built with Go once per version and shared by all checkouts."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from driftstack_cluster.errors import Precondition
from driftstack_cluster.progress import Progress, Step
from driftstack_cluster.shell import run

KUBERNETES_VERSION = "v1.37.2"
HELM_MODULE = "helm.sh/helm/v4/cmd/helm@v4.3.1"
_BUILD_BYTES = 8 * 1024**3
_GO_FOLDERS = ("/usr/local/go/bin", "/usr/lib/go/bin", "/opt/homebrew/bin")


@dataclass(frozen=True)
class Tools:
    """The finished binaries."""

    folder: Path

    @property
    def node(self) -> Path:
        """All Kubernetes components in one."""
        return self.folder / "node"

    @property
    def pause(self) -> Path:
        """The pod infrastructure container's program."""
        return self.folder / "pause"

    @property
    def kubectl(self) -> Path:
        """Kubectl of the same version (a link to `node`)."""
        return self.folder / "kubectl"

    @property
    def helm(self) -> Path:
        """Helm 4."""
        return self.folder / "helm"

    def are_complete(self) -> bool:
        """Whether everything is there."""
        return all(file.exists() for file in (self.node, self.pause, self.kubectl, self.helm))


def tools(checkout: Path, cache: Path) -> Tools:
    """Where the binaries of this checkout's version are, built or not."""
    return Tools(cache / "bin" / version_key(checkout / "cluster" / "node"))


def version_key(module: Path) -> str:
    """Changes with every source file of the module and with what is built beside it."""
    digest = hashlib.sha256(f"{HELM_MODULE} {KUBERNETES_VERSION}".encode())
    for file in sorted([module / "go.mod", module / "go.sum", *module.rglob("*.go")]):
        digest.update(str(file.relative_to(module)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def ensure(checkout: Path, cache: Path, progress: Progress) -> Tools:
    """Builds what is missing.

    Raises:
        Precondition: no Go, too old a Go, or no room.
        CommandFailed: the build failed.
    """
    wanted = tools(checkout, cache)
    if wanted.are_complete():
        return wanted
    wanted.folder.mkdir(parents=True, exist_ok=True)
    with progress.step("Build Kubernetes and Helm from Go modules") as step:
        step.note("waiting for a build of the same version")
        with _lock(wanted.folder / ".lock"):
            if not wanted.are_complete():
                _build(checkout / "cluster" / "node", wanted, step)
        step.note("")
    return wanted


def ensure_go_tool(name: str, module: str, cache: Path, progress: Progress) -> Path:
    """The user's own program of that name, or one built from `module` (with its version).

    Raises:
        Precondition: no Go to build it with.
        CommandFailed: the build failed.
    """
    installed = shutil.which(name)
    if installed is not None:
        return Path(installed)
    target = cache / "bin" / text_hash(module) / name
    if not target.exists():
        go = shutil.which("go", path=os.pathsep.join([os.environ.get("PATH", ""), *_GO_FOLDERS]))
        if go is None:
            raise Precondition(f"neither {name} nor Go to build it with is installed", f"Install {name} or Go.")
        target.parent.mkdir(parents=True, exist_ok=True)
        with progress.step(f"Build {module}"):
            _go_install(Path(go), module, target)
    return target


def check_go(module: Path) -> Path:
    """Finds a Go that can build the module.

    Raises:
        Precondition: with the version that is needed.
    """
    needed = re.search(r"^go (\d+)\.(\d+)", (module / "go.mod").read_text(), re.MULTILINE)
    if needed is None:
        raise Precondition(f"{module / 'go.mod'} names no Go version", "Restore it from the repository.")
    wanted = (int(needed[1]), int(needed[2]))
    hint = f"Install Go {wanted[0]}.{wanted[1]} or newer (https://go.dev/dl/), and have it on PATH."
    go = shutil.which("go", path=os.pathsep.join([os.environ.get("PATH", ""), *_GO_FOLDERS]))
    if go is None:
        raise Precondition("Go is not installed; Kubernetes is built with it", hint)
    text = run([go, "env", "GOVERSION"], environment={**os.environ, "GOTOOLCHAIN": "local"}, cwd=Path("/"))
    found = re.match(r"go(\d+)\.(\d+)", text.strip())
    if found is None or (int(found[1]), int(found[2])) < wanted:
        raise Precondition(f"Go is too old: {text.strip()}", hint)
    return Path(go)


def check_room(folder: Path, needed: int, purpose: str) -> None:
    """Refuses to fill the disk.

    Raises:
        Precondition: less than `needed` bytes are free where `folder` is.
    """
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise Precondition(
            f"{free / 1024**3:.1f} GiB free on the disk of {folder}; {purpose} needs {needed / 1024**3:.0f} GiB",
            "Free some room (`go clean -cache` and old folders of the cache are good candidates).",
        )


def _build(module: Path, wanted: Tools, step: Step) -> None:
    go = check_go(module)
    check_room(wanted.folder, _BUILD_BYTES, "the build")
    if not wanted.node.exists():
        step.note("all of Kubernetes, about 9 minutes on 2 cores the first time")
        _go_build(go, module, ".", _version_flags(), wanted.node)
    if not wanted.pause.exists():
        _go_build(go, module, "./pause", "-s -w", wanted.pause)
    if not wanted.kubectl.exists():
        wanted.kubectl.symlink_to("node")
    if not wanted.helm.exists():
        step.note("Helm, about 2 minutes")
        _go_install(go, HELM_MODULE, wanted.helm)


def _go_build(go: Path, module: Path, package: str, flags: str, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    argv = [go, "build", "-trimpath", f"-ldflags={flags}", "-o", temporary, package]
    try:
        run(argv, cwd=module, environment=_go_environment(), hint=_BUILD_HINT)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _go_install(go: Path, module: str, target: Path) -> None:
    folder = target.with_name(f".{target.name}.{os.getpid()}")
    environment = {**_go_environment(), "GOBIN": str(folder)}
    try:
        argv = [go, "install", "-trimpath", "-ldflags=-s -w", module]
        run(argv, cwd=target.parent, environment=environment, hint=_BUILD_HINT)
        (folder / target.name).replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_BUILD_HINT = (
    "The modules come from your GOPROXY. Behind a TLS-inspecting proxy, Go must know its certificate "
    "(SSL_CERT_FILE). Finished parts stay in Go's cache: run `make up` again to go on."
)


def _go_environment() -> dict[str, str]:
    # No CGO: the binaries then run on any Linux, and no C compiler is needed.
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}


def _version_flags() -> str:
    variables = "k8s.io/component-base/version"
    major, minor = KUBERNETES_VERSION.removeprefix("v").split(".")[:2]
    values = {
        "gitVersion": KUBERNETES_VERSION,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
    }
    return "-s -w " + " ".join(f"-X {variables}.{name}={value}" for name, value in values.items())


@contextmanager
def _lock(file: Path) -> Iterator[None]:
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def text_hash(text: str) -> str:
    """A short fingerprint of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
