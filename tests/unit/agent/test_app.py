from __future__ import annotations

import json
from pathlib import Path

import pytest

from driftstack_agent.app import TERMINATION_LIMIT, write_termination
from driftstack_common.protocol import EndReason, Termination


@pytest.mark.parametrize("text", ["x", "é", "\n", "\x01", "😀"])
def test_a_termination_message_fits_and_keeps_its_end(tmp_path: Path, text: str) -> None:
    path = tmp_path / "termination"
    path.write_text("older and longer " * 1000)
    write_termination(str(path), Termination(reason=EndReason.START_FAILED, message=text * 9000 + " cause"))
    data = path.read_bytes()
    assert len(data) <= TERMINATION_LIMIT
    message = json.loads(data)
    assert message["reason"] == "start-failed"
    assert message["message"].endswith(" cause")


def test_a_folder_that_is_not_there_is_logged_only(tmp_path: Path) -> None:
    write_termination(str(tmp_path / "no" / "file"), Termination(reason=EndReason.IDLE))
    assert not (tmp_path / "no").exists()
