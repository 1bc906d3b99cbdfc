from pathlib import Path

import pytest

from driftstack_cluster.image_inputs import SOURCES


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one small file wherever an image takes something from."""
    root = tmp_path / "checkout"
    for folder in ("images/build", *{name for names in SOURCES.values() for name in names}):
        (root / folder).mkdir(parents=True)
        (root / folder / "file.py").write_text(f"# {folder}\n")
    for component in SOURCES:
        (root / "images" / component).mkdir()
        (root / "images" / component / "Containerfile").write_text("FROM scratch\n")
        (root / "images" / component / "requirements.lock").write_text("msgspec==0.22.0\n")
    (root / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    return root
