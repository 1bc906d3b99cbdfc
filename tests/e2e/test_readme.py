"""What README and reference promise, typed as it stands there: the demo, then every block of commands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pykube
import pytest

from driftstack_cluster import settings
from tests.e2e.conftest import ROOT, Installation
from tests.e2e.objects import Account

README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs" / "reference" / "rest-api.md").read_text()


def blocks(heading: str, language: str) -> list[str]:
    """Return the code blocks of one language in a section of the README."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def demo(installation: Installation) -> str:
    """Run the demo on the cluster that is up; return what it printed."""
    command = [sys.executable, "-m", "driftstack_cluster", "demo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def team(demo: str, kube: pykube.HTTPClient) -> Iterator[None]:
    """Take away the account that the README makes."""
    yield
    Account(kube, {"metadata": {"name": "team-a"}}).delete()


def shell(*commands: str) -> str:
    """Run blocks of the README in one shell, at the root of the checkout; return what they print."""
    script = "set -euo pipefail\n" + "\n".join(commands)
    command = ["bash", "-c", script.replace(".driftstack/env", str(_env()))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _env() -> Path:
    """Return the file that the demo writes: `.driftstack/env` unless this is one of several clusters."""
    return settings.load(ROOT).output / "env"


def test_demo(demo: str) -> None:
    assert "create, until ready" in demo
    assert "hello-kubectl" in demo
    assert (ROOT / "demo" / "page.png").read_bytes().startswith(b"\x89PNG")
    assert (ROOT / "demo" / "page.pdf").read_bytes().startswith(b"%PDF-")
    assert _env().stat().st_mode & 0o077 == 0, "the key is nobody else's"


def test_own_calls(demo: str) -> None:
    said = shell(*blocks("Your own calls", "bash"))
    assert '"status":200' in said, "navigate answered"
    assert "condition met" in said, "kubectl saw the session become ready"
    assert (ROOT / "demo" / "first.png").read_bytes().startswith(b"\x89PNG")


def test_python_client(demo: str) -> None:
    words = shlex.split(_env().read_text())
    told = dict(word.split("=", 1) for word in words if word.startswith("DRIFTSTACK_"))
    (program,) = blocks("Your own calls", "python")
    command = [sys.executable, "-c", program]
    environment = {**os.environ, **told}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_reference_of_the_rest_api(demo: str, tmp_path: Path) -> None:
    """Its first block makes, drives and ends a session; the others act on one."""
    if shutil.which("jq") is None:
        pytest.skip("the reference's examples use jq")
    life, *steps = re.findall(r"^```bash\n(.*?)^```", REFERENCE, flags=re.MULTILINE | re.DOTALL)
    begin, end = life.split('curl -s -H "$auth" -X DELETE', 1)
    says = f"source .driftstack/env; cd {tmp_path}"
    said = shell(says, begin, *steps, f'curl -s -H "$auth" -X DELETE{end}')
    assert '"ok":true' in said
    assert '"rows":' in said
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def test_account_and_key(team: None, tmp_path: Path) -> None:
    check = (
        "for try in $(seq 50); do\n"
        '  curl -sf --noproxy "*" "$DRIFTSTACK_URL/v1/whoami" -H "Authorization: Bearer $key" && exit 0\n'
        "  sleep 0.2\n"
        "done; exit 1"
    )
    said = shell("source .driftstack/env", *blocks("An account and a key of your own", "bash"), check)
    assert '"tier":"team_manual"' in said
