from __future__ import annotations

import os
from pathlib import Path

import pytest

from driftstack_cli import captures
from driftstack_cli.choices import Captured
from driftstack_cli.errors import CliError


@pytest.mark.parametrize(
    ("file", "kind", "chosen", "name"),
    [
        (None, None, Captured.SCREENSHOT, "ses_1.png"),
        (None, Captured.PDF, Captured.PDF, "ses_1.pdf"),
        (None, Captured.DOM_SNAPSHOT, Captured.DOM_SNAPSHOT, "ses_1.json"),
        ("a.PDF", None, Captured.PDF, "a.PDF"),
        ("a.json", None, Captured.DOM_SNAPSHOT, "a.json"),
        ("a", None, Captured.SCREENSHOT, "a"),
        ("a.pdf", Captured.SCREENSHOT, Captured.SCREENSHOT, "a.pdf"),
    ],
)
def test_kind_and_file(file: str | None, kind: Captured | None, chosen: Captured, name: str) -> None:
    plan = captures.plan("ses_1", Path(file) if file else None, kind, False, True)
    assert plan == (chosen, Path(name))


def test_an_id_is_no_path() -> None:
    assert captures.plan("../x", None, None, False, False).file == Path("___x.png")


def test_pictures_are_nothing_for_a_terminal() -> None:
    with pytest.raises(CliError, match="terminal"):
        captures.plan("ses_1", Path("-"), None, False, True)
    assert captures.plan("ses_1", Path("-"), None, False, False).file is None
    assert captures.plan("ses_1", Path("-"), Captured.DOM_SNAPSHOT, False, True).file is None


def test_a_file_that_came_meanwhile_stays(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    plan = captures.plan("ses_1", file, None, False, False)
    file.write_bytes(b"somebody's")
    with pytest.raises(CliError, match="exists"):
        captures.save(plan.file or file, b"new", False)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"somebody's"]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="can't be written"):
        captures.save(tmp_path / "gone" / "a.png", b"x", False)


def test_a_file_is_replaced_as_it_was(tmp_path: Path) -> None:
    file, link = tmp_path / "a.png", tmp_path / "link.png"
    file.write_bytes(b"old")
    file.chmod(0o640)
    link.symlink_to(file)
    captures.save(link, b"new", True)
    assert (file.read_bytes(), file.stat().st_mode & 0o777, link.is_symlink()) == (b"new", 0o640, True)


def test_devices_are_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    captures.save(pipe, b"x", True)
    assert os.read(reading, 10) == b"x"
    os.close(reading)
    assert pipe.is_fifo()


def test_nothing_is_left_of_what_could_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copymode", full)
    with pytest.raises(CliError, match="No space left"):
        captures.save(tmp_path / "a.png", b"x", False)
    assert list(tmp_path.iterdir()) == []
