"""The command as a process of its own: interrupted, cut off, and as a plugin of kubectl."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Cluster, Command, Rest

COMMAND = [sys.executable, "-m", "driftstack_cli"]
# Where the tests' own shell ignores Ctrl-C, as background jobs do, so would everything that they start.
INTERRUPTIBLE = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from driftstack_cli.__main__ import main; main()",
]


def test_ctrl_c_is_silent(rest: Rest, driftstack: Command) -> None:
    rest.world.operator.start = False
    session = driftstack("session", "create").out.strip()
    command = [*INTERRUPTIBLE, "session", "wait", session]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert "Waiting for" in running.stderr.readline()  # after two seconds
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
    assert running.returncode == 130
    assert err == ""


def test_ctrl_c_while_kubernetes_is_asked(cluster: Cluster) -> None:
    cluster.server.kube.hanging.add("list")
    command = [*INTERRUPTIBLE, "account", "list"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert "Listing accounts" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
    assert (running.returncode, err) == (130, "")


@pytest.mark.parametrize("words", [["account", "list", "-o", "yaml"], ["version"]])
def test_a_reader_that_leaves_is_no_error(cluster: Cluster, words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, *words], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 141


def test_a_terminal_gets_colours_unless_it_wants_none(cluster: Cluster) -> None:
    green = "\x1b[32m"
    assert green in on_a_terminal("account", "list")
    plain = on_a_terminal("account", "list", NO_COLOR="1")
    assert "acme" in plain
    assert green not in plain


def test_a_table_fits_a_terminal(rest: Rest, driftstack: Command) -> None:
    session = driftstack("session", "create", "--label", "long " * 20).out.strip()
    shown = on_a_terminal("session", "list", NO_COLOR="1", COLUMNS="80")
    lines = re.sub("\x1b\\[[0-9;]*m", "", shown).splitlines()
    assert session in shown
    assert all(len(line) <= 80 for line in lines)
    assert "…" in shown


def test_a_plugin_of_kubectl_calls_itself_so(tmp_path: Path) -> None:
    plugin = tmp_path / "kubectl-driftstack"
    plugin.write_text(f"#!{sys.executable}\nfrom driftstack_cli.__main__ import main\nmain()\n")
    plugin.chmod(0o755)
    done = subprocess.run([plugin, "key", "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: kubectl driftstack key" in done.stdout
    done = subprocess.run([plugin, "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert "Usage: kubectl driftstack [OPTIONS]" in done.stdout
    assert "--install-completion" not in done.stdout


def test_completion(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "_DRIFTSTACK_COMPLETE": "complete_bash",
        "COMP_WORDS": "driftstack session c",
        "COMP_CWORD": "2",
    }
    command = [sys.executable, "-c", "from driftstack_cli.__main__ import main; main()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["create", "capture"]


def test_the_tree_of_commands_loads_nothing_heavy() -> None:
    program = (
        "import sys, driftstack_cli.app\ndriftstack_cli.app.tree()\n"
        "heavy = {'aiohttp', 'kubernetes', 'httpx2', 'rich', 'yaml', 'msgspec', 'pydantic', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[]\n"


def on_a_terminal(*words: str, **environment: str) -> str:
    """Return what a command writes to a terminal."""
    ours, theirs = pty.openpty()
    command = [*COMMAND, *words]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200", **environment}
    running = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=environment)
    os.close(theirs)
    said = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            said += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    _, err = running.communicate(timeout=10)
    assert running.returncode == 0, err
    return said.decode()
