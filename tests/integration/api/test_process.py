"""The process itself: what it says when it can't start."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest


async def run(tmp_path: Path, **settings: str) -> tuple[int | None, str]:
    """Start the facade with these settings; return how it ended and what it said."""
    given = {f"DRIFTSTACK_API_{name}": value for name, value in settings.items()}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTSTACK_API_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "driftstack_api",
        env={**inherited, "DRIFTSTACK_API_METRICS_PORT": "0", "DRIFTSTACK_API_AGENT_KEYS": str(tmp_path), **given},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        _, said = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PROT": "8000"}, "no such setting: DRIFTSTACK_API_PROT"),
        ({"AGENT_KEYS": "/nonexistent"}, "cannot read the agent keys"),
        ({"KUBECONFIG": "/nonexistent"}, "no usable Kubernetes configuration"),
    ],
)
async def test_what_cannot_work_is_one_line_and_exit_2(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    (tmp_path / "1").write_text("k" * 40)
    code, output = await run(tmp_path, **settings)
    assert code == 2
    assert output.startswith("driftstack-api: ")
    assert said in output
    assert "Traceback" not in output
