"""Log lines, as another process prints them: setting logging up is for good."""

from __future__ import annotations

import subprocess
import sys

import pytest

_CRASH = """
from driftstack_common.logging import configure_logging, get_logger

def check(token):
    raise RuntimeError("crashed here")

configure_logging(json={json})
try:
    check("sword" + "fish")
except RuntimeError:
    get_logger("test").exception("request crashed")
"""


@pytest.mark.parametrize("json", [True, False])
def test_a_traceback_shows_no_local_variables(json: bool) -> None:
    command = [sys.executable, "-c", _CRASH.format(json=json)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "crashed here" in output
    assert "swordfish" not in output
