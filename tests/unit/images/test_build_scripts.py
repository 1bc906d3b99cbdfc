"""The scripts that run inside build stages, and what the three Containerfiles promise."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from driftstack_cluster.image_inputs import COMPONENTS

IMAGES = Path(__file__).parents[3] / "images"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, IMAGES / "build" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rootfs, slim = script("rootfs"), script("slim")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "lib/a.so",
        "lib/deep/b.so",
        "lib/deep/__pycache__/c.pyc",
        "lib/__pycache__/d.pyc",
        "lib/test/e.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def select(tree: Path, *lines: str) -> set[str]:
    listing = tree / "list.files"
    listing.write_text("\n".join(line.replace("@", str(tree)) for line in lines))
    return {str(path.relative_to(tree)) for path in rootfs.selected([listing])}


def test_lists_take_globs_and_give_back(tree: Path) -> None:
    assert select(tree, "# all", "", "@/lib/**", "!*/__pycache__/*", "!@/lib/test/**") == {
        "lib/a.so",
        "lib/deep/b.so",
    }
    assert select(tree, "@/lib/*.so") == {"lib/a.so"}


@pytest.mark.parametrize("lines", [("@/lib/gone.so",), ("@/lib/**", "!@/lib/gone/**")], ids=["taken", "given back"])
def test_a_line_that_matches_nothing_ends_the_build(tree: Path, lines: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match=r"nothing matches .*gone"):
        select(tree, *lines)


def test_links_bring_what_they_lead_to(tree: Path) -> None:
    (tree / "lib/a.so.1").symlink_to("a.so")
    (tree / "entry").symlink_to("lib/a.so.1")
    found = rootfs.with_targets([tree / "entry"])
    assert found == {tree / "entry", tree / "lib/a.so.1", tree / "lib/a.so"}


def test_a_file_below_a_linked_folder_is_taken_once_by_its_real_path(tree: Path) -> None:
    (tree / "merged").symlink_to("lib")
    assert rootfs.with_targets([tree / "merged/a.so", tree / "lib/a.so"]) == {tree / "lib/a.so"}


@pytest.mark.parametrize(
    ("line", "packages"),
    [
        ("libc6:amd64: /lib/x86_64-linux-gnu/libc.so.6", ["libc6:amd64"]),
        ("one, two: /usr/share/shared", ["one", "two"]),
        ("diversion by dash from: /bin/sh", []),
    ],
)
def test_owners_of_a_file(line: str, packages: list[str]) -> None:
    assert list(rootfs.packages_of(line)) == packages


def test_the_user_is_1000_and_temporary_folders_are_open(tmp_path: Path) -> None:
    rootfs.add_system_files("browser", tmp_path)
    assert "browser:x:1000:1000::/tmp:/sbin/nologin" in (tmp_path / "etc/passwd").read_text()
    assert (tmp_path / "tmp").stat().st_mode & 0o7777 == 0o1777


def test_the_kubernetes_client_keeps_what_its_kept_parts_import(tmp_path: Path) -> None:
    models = "kubernetes.aio.client.models"
    sources = {
        "kubernetes/aio/client/api/custom_objects_api.py": f"from {models}.v1_status import V1Status",
        "kubernetes/aio/client/models/v1_status.py": f"from {models}.v1_meta import V1Meta",
        "kubernetes/aio/client/models/v1_meta.py": "",
        "kubernetes/aio/client/models/v1_pod.py": "",
        "kubernetes/aio/client/models/__init__.py": "",
        "kubernetes/aio/client/api_client.py": "",
        "kubernetes/client/api/core_v1_api.py": "",
        "kubernetes/client/models/v1_object_meta.py": "",
        "kopf/tests/test_it.py": "",
        "kopf/engine.py": "",
        "fast/part.pyx": "",
        "fast-1.0.dist-info/RECORD": "",
        "fast-1.0.dist-info/METADATA": "",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    slim.slim(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert set(sources) - left == {
        "kubernetes/aio/client/models/v1_pod.py",
        "kubernetes/client/api/core_v1_api.py",
        "kopf/tests/test_it.py",
        "fast/part.pyx",
        "fast-1.0.dist-info/RECORD",
    }


def containerfile(component: str) -> str:
    return (IMAGES / component / "Containerfile").read_text()


def test_the_first_stage_is_shared() -> None:
    stages = {
        containerfile(component).split("FROM python AS")[0].partition("ARG BASE")[2] for component in COMPONENTS
    }
    assert len(stages) == 1


@pytest.mark.parametrize("component", COMPONENTS)
def test_an_image_starts_its_component_as_nobody_special(component: str) -> None:
    final = containerfile(component).split("FROM scratch")[1]
    assert "USER 1000:1000" in final
    entrypoint = re.search(r"^ENTRYPOINT (.+)$", final, re.MULTILINE)
    assert entrypoint is not None
    started = {
        "operator": ["-m", "driftstack_operator"],
        "facade": ["-m", "driftstack_api"],
        "agent": ["-S", "/opt/driftstack/code/driftstack_agent/__main__.py"],
    }
    assert json.loads(entrypoint[1]) == ["python3", *started[component]]


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_locked_package_has_hashes(component: str) -> None:
    lock = (IMAGES / component / "requirements.lock").read_text()
    entries = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)[1:]
    assert entries
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)


def test_no_archive_is_named() -> None:
    for path in (path for path in IMAGES.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        assert not re.search(r"https?://|--index-url|find-links", path.read_text()), path
