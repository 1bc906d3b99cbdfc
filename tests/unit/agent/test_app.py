from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from driftstack_agent.app import MESSAGE_LENGTH, TERMINATION_LIMIT, fitted, write_termination
from driftstack_common.kinds import StepCounts
from driftstack_common.protocol import EndReason, Termination
from driftstack_common.usage import MOST_DAYS, MOST_STEPS


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


@pytest.mark.parametrize("sign", ["x", '"', "\x01", "😀"])
def test_a_termination_message_has_the_end_of_the_log(sign: str) -> None:
    lines = [f"{number} {sign * 30}" for number in range(200)]
    message = "y" * 9000 + " cause"
    data = fitted(Termination(reason=EndReason.BROWSER_CRASHED, message=message, log="\n".join(lines)))
    assert len(data) <= TERMINATION_LIMIT
    written = json.loads(data)
    assert written["message"] == message[-MESSAGE_LENGTH:]
    kept = written["log"].splitlines()
    assert kept
    assert kept == lines[-len(kept) :]


@pytest.mark.parametrize("sign", ["x", "\x01", "😀"])
def test_the_fullest_usage_fits_and_none_of_it_is_lost(sign: str) -> None:
    most = StepCounts(**dict.fromkeys(StepCounts.__struct_fields__, MOST_STEPS))
    usage = {f"2026-05-{day + 10}": most for day in range(MOST_DAYS)}
    last = Termination(reason=EndReason.OUT_OF_MEMORY, message=sign * 9000, log=sign * 2048, usage=usage)
    data = fitted(last)
    assert len(data) <= TERMINATION_LIMIT
    assert msgspec.json.decode(data, type=Termination).usage == usage


def test_a_folder_that_is_not_there_is_logged_only(tmp_path: Path) -> None:
    write_termination(str(tmp_path / "no" / "file"), Termination(reason=EndReason.IDLE))
    assert not (tmp_path / "no").exists()
