"""The process itself: what it says when it can't start."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def run(tmp_path: Path, **settings: str) -> tuple[int | None, str]:
    """Start the facade with these settings; return how it ended and what it said."""
    process = await start(tmp_path, **settings)
    async with asyncio.timeout(20):
        _, said = await process.communicate()
    return process.returncode, said.decode()


async def start(tmp_path: Path, **settings: str) -> asyncio.subprocess.Process:
    """Start the facade with these settings."""
    given = {f"DRIFTSTACK_API_{name}": value for name, value in settings.items()}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTSTACK_API_")}
    keys = {f"DRIFTSTACK_API_{name}": str(tmp_path) for name in ("AGENT_KEYS", "CONNECT_KEYS")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "driftstack_api",
        env={**inherited, "DRIFTSTACK_API_METRICS_PORT": "0", **keys, **given},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PROT": "8000"}, "no such setting: DRIFTSTACK_API_PROT"),
        ({"AGENT_KEYS": "/nonexistent"}, "cannot read the keys in /nonexistent"),
        ({"CONNECT_KEYS": "/nonexistent"}, "cannot read the keys in /nonexistent"),
        ({"PUBLIC_URL": "ws://x"}, "DRIFTSTACK_API_PUBLIC_URL"),
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


async def test_the_process_serves_from_the_api_server_of_a_kubeconfig(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        sizes = ("--sessions=2", "--records=600")
        surroundings = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.integration.api.process", str(tmp_path), *sizes),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        stack.push_async_callback(end, surroundings)
        assert surroundings.stdout is not None
        async with asyncio.timeout(60):
            told = json.loads(await surroundings.stdout.readline())
        port = free_port()
        settings = {"KUBECONFIG": f"{tmp_path}/kubeconfig", "AGENT_KEYS": f"{tmp_path}/keys"}
        facade = await start(tmp_path, HOST="127.0.0.1", PORT=str(port), **settings)
        stack.push_async_callback(end, facade)
        headers = {"Authorization": f"Bearer {told['key']}"}
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as http:
            await answers(http, "/readyz")
            await reads_and_captures(http, told["sessions"])


async def reads_and_captures(http: httpx2.AsyncClient, sessions: list[str]) -> None:
    """Ask for what the surroundings have."""
    page = (await http.get("/v1/sessions?limit=1")).json()
    assert page["data"][0]["id"] in sessions
    assert page["has_more"]
    shown = await http.get(f"/v1/sessions/{sessions[0]}")
    assert shown.json()["status"] == "ready"
    captured = (await http.post(f"/v1/sessions/{sessions[0]}/capture", json={"kind": "screenshot"})).json()
    assert len(base64.b64decode(captured["data"])) == captured["byte_size"]


async def end(process: asyncio.subprocess.Process) -> None:
    """Stop a process and wait for it."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await process.communicate()


async def answers(http: httpx2.AsyncClient, path: str) -> None:
    """Wait until a GET succeeds."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(httpx2.ConnectError):
                if (await http.get(path)).status_code == 200:
                    return
            await asyncio.sleep(0.05)
