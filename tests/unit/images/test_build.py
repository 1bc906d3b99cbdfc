import os
import time
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from driftstack_cluster import image_secrets
from driftstack_cluster.errors import Precondition
from driftstack_cluster.image_builders import Order
from driftstack_cluster.image_inputs import COMPONENTS, Inputs
from driftstack_cluster.images import build
from driftstack_cluster.progress import Progress, Step


@dataclass
class FakeBuilder:
    """Builds empty archives and remembers for what."""

    folder: Path
    base: str = "base-1"
    orders: list[Order] = field(default_factory=list)

    def base_identity(self, progress: Progress) -> str:
        return self.base

    def find(self, inputs: Inputs) -> Path | None:
        archive = self.folder / f"{inputs.component}-{inputs.digest}.tar"
        return archive if archive.exists() else None

    def holds(self, inputs: Inputs) -> bool:
        return False

    def build(self, order: Order, step: Step) -> Path:
        assert (order.context / order.inputs.containerfile).is_file()
        self.orders.append(order)
        archive = self.folder / f"{order.inputs.component}-{order.inputs.digest}.tar"
        archive.touch()
        return archive

    def prune(self, component: str, keep: int) -> None:
        pass


@dataclass
class Case:
    checkout: Path
    cache: Path
    builder: FakeBuilder
    output: StringIO = field(default_factory=StringIO)

    def changed(self, refresh: bool = False) -> set[str]:
        progress = Progress(Console(file=self.output, width=400))
        images = build(progress, self.checkout, self.cache, refresh=refresh, builder=self.builder)
        assert [image.component for image in images] == list(COMPONENTS)
        assert all(image.archive and image.archive.exists() for image in images)
        return {image.component for image in images if image.changed}


@pytest.fixture
def case(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setattr(image_secrets, "_pip_settings", lambda: "")
    cache = tmp_path / "cache"
    (cache / "images").mkdir(parents=True)
    return Case(checkout, cache, FakeBuilder(cache / "images"))


def test_only_what_changed_is_built(case: Case) -> None:
    assert case.changed() == set(COMPONENTS)
    assert case.changed() == set()
    (case.checkout / "agent/driftstack_agent/file.py").write_text("changed")
    assert case.changed() == {"agent"}


def test_going_back_to_earlier_code_builds_nothing(case: Case) -> None:
    file = case.checkout / "agent/driftstack_agent/file.py"
    earlier = file.read_text()
    case.changed()
    file.write_text("changed")
    case.changed()
    file.write_text(earlier)
    assert case.changed() == set()


def test_another_base_rebuilds_all(case: Case) -> None:
    case.changed()
    case.builder.base = "base-2"
    assert case.changed() == set(COMPONENTS)


def test_refresh_fetches_packages_again(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.changed()
    monkeypatch.setattr(time, "time", lambda: 4_000_000_000.0)
    assert case.changed(refresh=True) == set(COMPONENTS)
    assert case.builder.orders[-1].arguments == {"VERSION": "1.2.3", "FETCHED": "4000000000"}
    assert case.changed() == set()


def test_a_refresh_that_fails_leaves_the_images_good(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.changed()
    monkeypatch.setattr(time, "time", lambda: 4_000_000_000.0)
    with monkeypatch.context() as broken:
        broken.setattr(case.builder, "build", lambda order, step: (_ for _ in ()).throw(Precondition("no network")))
        with pytest.raises(Precondition, match="no network"):
            case.changed(refresh=True)
    assert case.changed() == set()


def test_what_a_killed_build_left_is_removed(case: Case) -> None:
    left = case.cache / "images" / "build-killed"
    left.mkdir()
    (left / "pip.conf").write_text("index-url = https://user:pw@index.test/")
    case.changed()
    assert not left.exists()


def test_old_packages_are_pointed_out(case: Case) -> None:
    case.changed()
    assert "REFRESH" not in case.output.getvalue()
    (case.cache / "images" / "packages-fetched").write_text(f"{time.time() - 40 * 86400:.0f}")
    case.changed()
    assert "40 days ago: `make images REFRESH=on`" in case.output.getvalue()


def test_nothing_but_archives_and_the_stamp_stays_in_the_cache(case: Case) -> None:
    case.changed()
    left = {path.name for path in (case.cache / "images").iterdir() if path.suffix != ".tar"}
    assert left == {"lock", "packages-fetched"}


def test_without_room_it_says_so_before_it_starts(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 1000, 10, 10, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    with pytest.raises(Precondition, match="building images needs 4 GiB"):
        case.changed()
    assert case.builder.orders == []
