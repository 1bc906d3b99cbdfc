"""Key rings that are rotated while the facade runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from driftstack_api.mounted_keys import MountedKeys
from driftstack_common.agent_token import KeyRing
from driftstack_common.errors import SettingsError

KEYS = {"1": b"a" * 32, "2": b"b" * 32}


def mount(folder: Path, *names: str) -> None:
    """Lay keys out as the kubelet does: links to a folder that is swapped as a whole."""
    version = folder / f"..{'-'.join(names)}"
    version.mkdir(parents=True)
    for name in names:
        (version / name).write_bytes(KEYS.get(name, b"short"))
    (folder / "..data_tmp").symlink_to(version.name)
    os.rename(folder / "..data_tmp", folder / "..data")
    for name in names:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")


def test_new_keys_are_used_and_old_ones_not_longer(tmp_path: Path) -> None:
    mount(tmp_path, "1")
    keys = MountedKeys.load(tmp_path)
    old = keys.ring.token("x", "1")
    mount(tmp_path, "1", "2")
    assert keys.ring.current == "2"
    assert keys.ring.token("x", "1") == old
    mount(tmp_path, "2")
    (tmp_path / "1").unlink()
    with pytest.raises(KeyError):
        keys.ring.token("x", "1")


def test_what_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    mount(tmp_path, "1")
    keys = MountedKeys.load(tmp_path)
    mount(tmp_path, "1", "wrong")
    assert keys.ring.current == "1"
    mount(tmp_path, "1", "2")
    (tmp_path / "wrong").unlink()
    assert keys.ring.current == "2"


def test_a_folder_without_keys(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="empty"):
        MountedKeys.load(tmp_path)
    assert MountedKeys(KeyRing(KEYS)).ring.current == "2"
