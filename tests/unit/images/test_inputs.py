from pathlib import Path

import pytest

from driftstack_cluster.errors import Precondition
from driftstack_cluster.image_inputs import COMPONENTS, collect


def digests(checkout: Path, salt: str = "base") -> dict[str, str]:
    return {component: collect(checkout, component, salt).digest for component in COMPONENTS}


@pytest.mark.parametrize(
    ("name", "affected"),
    [
        ("common/driftstack_common/file.py", {"operator", "facade", "agent"}),
        ("images/build/file.py", {"operator", "facade", "agent"}),
        ("operator/driftstack_operator/file.py", {"operator"}),
        ("api/driftstack_api/file.py", {"facade"}),
        ("agent/driftstack_agent/file.py", {"agent"}),
        ("agent/driftstack_agent/new.py", {"agent"}),
        ("images/agent/requirements.lock", {"agent"}),
        ("images/facade/Containerfile", {"facade"}),
        ("operator/driftstack_operator/__pycache__/file.cpython-311.pyc", set()),
        ("README.md", set()),
    ],
)
def test_a_change_affects_the_images_it_is_part_of(checkout: Path, name: str, affected: set[str]) -> None:
    before = digests(checkout)
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("changed")
    after = digests(checkout)
    assert {component for component in COMPONENTS if before[component] != after[component]} == affected


def test_version_and_base_are_part_of_every_image(checkout: Path) -> None:
    before = digests(checkout)
    assert not set(before.values()) & set(digests(checkout, salt="another").values())
    (checkout / "pyproject.toml").write_text('[project]\nversion = "1.2.4"\n')
    assert not set(before.values()) & set(digests(checkout).values())


def test_content_moved_between_files_changes_the_hash(checkout: Path) -> None:
    folder = checkout / "agent/driftstack_agent"
    (folder / "a.py").write_text("xy")
    (folder / "b.py").write_text("")
    before = collect(checkout, "agent", "").digest
    (folder / "a.py").write_text("x")
    (folder / "b.py").write_text("y")
    assert collect(checkout, "agent", "").digest != before


def test_reference_carries_the_hash(checkout: Path) -> None:
    inputs = collect(checkout, "facade", "base")
    assert len(inputs.digest) == 12
    assert inputs.reference == f"driftstack.local/facade:{inputs.digest}"
    assert inputs.version == "1.2.3"


def test_the_context_holds_the_hashed_files_and_nothing_else(checkout: Path, tmp_path: Path) -> None:
    inputs = collect(checkout, "agent", "base")
    context = tmp_path / "context"
    inputs.stage(context)
    staged = {str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()}
    assert staged == set(inputs.files)
    assert inputs.containerfile in staged
    assert not any(name.startswith(("operator/", "api/")) for name in staged)


def test_staged_files_have_the_same_times_in_every_checkout(checkout: Path, tmp_path: Path) -> None:
    inputs = collect(checkout, "agent", "base")
    for name in ("first", "second"):
        inputs.stage(tmp_path / name)
    times = {path.stat().st_mtime for name in ("first", "second") for path in (tmp_path / name).rglob("*")}
    assert len(times) == 1


def test_a_missing_folder_is_named(checkout: Path) -> None:
    (checkout / "agent/driftstack_agent/file.py").unlink()
    (checkout / "agent/driftstack_agent").rmdir()
    with pytest.raises(Precondition, match="agent/driftstack_agent is missing"):
        collect(checkout, "agent", "base")
