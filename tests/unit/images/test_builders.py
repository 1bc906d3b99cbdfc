import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from driftstack_cluster import image_builders
from driftstack_cluster.errors import Precondition
from driftstack_cluster.image_builders import LAYERS_BYTES, Buildah, BuildFailed, Docker, Order, run_logged
from driftstack_cluster.image_inputs import collect
from driftstack_cluster.image_secrets import Secrets
from driftstack_cluster.progress import Progress, Step


@pytest.fixture
def order(checkout: Path, tmp_path: Path) -> Order:
    secrets = Secrets(tmp_path / "ca.crt", tmp_path / "pip.conf")
    arguments = {"VERSION": "1.2.3", "FETCHED": "77"}
    return Order(collect(checkout, "agent", "base"), tmp_path / "context", secrets, arguments)


class Recorder:
    """Stands for the programs: keeps the calls and answers what it was told to."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.answers: dict[str, str] = {}
        self.failure: Exception | None = None

    def run(self, argv: Sequence[str | Path], **_: object) -> str:
        words = [str(word) for word in argv]
        self.calls.append(words)
        if "push" in words:
            Path(words[-1].split(":")[1]).write_bytes(b"archive")
        return next((answer for word, answer in self.answers.items() if word in words), "")

    def run_logged(self, argv: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.run(argv)
        if self.failure:
            raise self.failure

    def verbs(self) -> list[str]:
        known = ("build", "push", "rm", "rmi", "images", "du")
        return [next(word for word in call if word in known) for call in self.calls]


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(image_builders, "run", recorder.run)
    monkeypatch.setattr(image_builders, "run_logged", recorder.run_logged)
    return recorder


@pytest.fixture
def buildah(tmp_path: Path, programs: Recorder) -> Buildah:
    folder = tmp_path / "images"
    (folder / "layers" / "overlay").mkdir(parents=True)
    return Buildah(folder, tmp_path / "run")


def test_the_base_has_one_identity_when_it_is_made_and_ever_after(
    buildah: Buildah, programs: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_base(archive: Path, _: object) -> None:
        archive.write_bytes(b"tar")
        programs.answers["images"] = "sha256:c0ffee\n"

    programs.answers = {"commit": "c0ffee\n"}
    monkeypatch.setattr(image_builders, "make_base", make_base)

    made, found = buildah.base_identity(Progress()), buildah.base_identity(Progress())

    assert made == found == "sha256:c0ffee"


def test_buildah_builds_in_its_own_store_and_writes_an_archive(
    buildah: Buildah, programs: Recorder, order: Order
) -> None:
    assert buildah.find(order.inputs) is None
    archive = buildah.build(order, Step("build"))
    assert archive == buildah.folder / f"agent-{order.inputs.digest}.tar"
    assert buildah.find(order.inputs) == archive
    assert list(buildah.folder.glob("*.part")) == []
    build = next(call for call in programs.calls if "build" in call)
    assert f"--root={buildah.folder / 'layers'}" in build
    for word in (
        "--isolation=chroot",
        "--layers",
        "--pull-never",
        "--build-arg=BASE=driftstack.local/base:bookworm",
    ):
        assert word in build
    push = next(call for call in programs.calls if "push" in call)
    assert push[-1].endswith(f":{order.inputs.reference}")


def test_a_failed_build_leaves_no_container_behind(buildah: Buildah, programs: Recorder, order: Order) -> None:
    programs.failure = BuildFailed("buildah", 1, [], Path("x.log"))
    with pytest.raises(BuildFailed):
        buildah.build(order, Step("build"))
    assert programs.verbs() == ["rm", "build", "rm"]
    assert buildah.find(order.inputs) is None


def test_the_newest_archives_stay(buildah: Buildah, programs: Recorder) -> None:
    for age, name in enumerate(["agent-new", "agent-used", "agent-old", "agent-oldest", "facade-oldest"]):
        (buildah.folder / f"{name}.tar").touch()
        os.utime(buildah.folder / f"{name}.tar", (1000 - age, 1000 - age))
    references = [f"driftstack.local/{name}" for name in ("agent:new", "agent:oldest", "facade:x", "base:bookworm")]
    programs.answers = {"images": "\n".join(references), "du": "5\tlayers"}
    buildah.prune("agent", keep=3)
    left = {path.stem for path in buildah.folder.glob("*.tar")}
    assert left == {"agent-new", "agent-used", "agent-old", "facade-oldest"}
    assert [call[-1] for call in programs.calls if "rmi" in call] == ["driftstack.local/agent:oldest"]


@pytest.mark.parametrize(("size", "pruned"), [(LAYERS_BYTES, False), (LAYERS_BYTES + 1, True)])
def test_layers_are_pruned_when_they_take_too_much(
    buildah: Buildah, programs: Recorder, size: int, pruned: bool
) -> None:
    programs.answers = {"du": f"{size}\tlayers"}
    buildah.prune("agent", keep=3)
    assert any("--prune" in call for call in programs.calls) is pruned


def test_docker_builds_on_debians_image(
    tmp_path: Path, programs: Recorder, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://user:pw@proxy.test:3128")
    Docker(tmp_path).build(order, Step("build"))
    (call,) = programs.calls
    assert call[:3] == ["docker", "build", "--progress=plain"]
    assert "--build-arg=BASE=debian:bookworm-slim" in call
    assert "--build-arg=FETCHED=77" in call
    assert f"--tag={order.inputs.reference}" in call
    assert "--build-arg=https_proxy" in call  # by name: the value may hold a password
    assert not any("pw" in word for word in call)


def test_a_failed_program_shows_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    with pytest.raises(BuildFailed) as caught:
        run_logged(
            ["sh", "-c", "for i in $(seq 40); do echo line $i; done; echo last >&2; exit 3"], log, os.environ
        )
    lines = str(caught.value).splitlines()
    assert lines[0] == "sh ended with 3"
    assert lines[1:] == [f"line {number}" for number in range(12, 41)] + ["last"]
    assert str(log) in caught.value.hint
    assert log.read_text().startswith("line 1\n")


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(Precondition, match="no-such-builder is not installed"):
        run_logged(["no-such-builder"], tmp_path / "log", os.environ)
