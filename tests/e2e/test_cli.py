"""The `driftstack` command on a real cluster, each time a process of its own."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pykube
import pytest

from tests.e2e.conftest import ROOT, Installation, Tenant
from tests.e2e.objects import Account, ApiKey, eventually

BIN = Path(sys.executable).parent
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(installation: Installation, tmp_path: Path) -> dict[str, str]:
    """What a user has set: kubeconfig, URL, and both commands on the PATH."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("DRIFTSTACK_")},
        "PATH": f"{installation.kubectl.parent}:{BIN}:{os.environ['PATH']}",
        "KUBECONFIG": str(installation.kubeconfig),
        "DRIFTSTACK_URL": installation.url,
        "NO_PROXY": urlsplit(installation.url).hostname or "",
        "HOME": str(tmp_path),
    }


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Run a command of words, with more variables by name."""

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = words if words[0] in ("kubectl", "bash") else ("driftstack", *words)
        return subprocess.run(
            command,
            env={**environment, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    return run


@pytest.fixture
def name(kube: pykube.HTTPClient) -> Iterator[str]:
    """Of an account that the test makes; it is taken away if the test doesn't."""
    chosen = f"cli-{secrets.token_hex(4)}"
    yield chosen
    left = Account.objects(kube).get_or_none(name=chosen)
    if left is not None:
        left.delete()


@pytest.mark.timeout(400)  # some thirty processes
def test_from_an_account_to_a_picture_and_back(
    run: Run, name: str, installation: Installation, kube: pykube.HTTPClient, tmp_path: Path
) -> None:
    made = run("account", "create", name, "--tier", "free", "--cap", "2", "--wait", "-o", "json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["status"]["limit"] == 2

    created = run("key", "create", "--account", name, "--name", "laptop", "--expires", "30d")
    assert created.returncode == 0, created.stderr
    key = created.stdout.strip()
    with_key = {"DRIFTSTACK_API_KEY": key}
    accepted(run, key)

    started = run("session", "create", "--wait", "--label", "by hand", "--metadata", "ticket=T-1", **with_key)
    assert started.returncode == 0, started.stderr
    session = started.stdout.strip()
    moved = run("session", "navigate", session, installation.page, **with_key)
    assert moved.stdout == f"200 {installation.page}\n", moved.stderr
    for file, beginning in (("page.png", b"\x89PNG"), ("page.pdf", b"%PDF-"), ("page.json", b"{")):
        captured = run("session", "capture", session, file, **with_key)
        assert captured.returncode == 0, captured.stderr
        assert (tmp_path / file).read_bytes().startswith(beginning)
    piped = f'driftstack session capture "{session}" - | head -c 4 | tail -c 3'
    assert run("bash", "-c", piped, **with_key).stdout == "PNG"
    assert run("session", "capture", session, "page.png", **with_key).returncode == 7

    opened = run("session", "open", session, **with_key)
    assert re.fullmatch(rf"wss?://\S+/v1/sessions/{session}/cdp\?token=\S+\n", opened.stdout), opened.stderr
    listed = run("session", "list", **with_key)
    assert re.search(rf"^{session}  ready +default +by hand", listed.stdout, re.MULTILINE)
    assert run("session", "create", **with_key).returncode == 0
    full = run("session", "create", **with_key)
    assert (full.returncode, "Try again in" in full.stderr) == (5, True)

    assert run("session", "delete", session, **with_key).returncode == 0
    ended = run("session", "wait", session, "--for", "ended", "-o", "json", **with_key)
    assert json.loads(ended.stdout)["status"] == "destroyed"
    assert run("session", "navigate", session, installation.page, **with_key).returncode == 7

    (old,) = ApiKey.objects(kube, namespace=f"acct-{name}")
    rotated = run("key", "rotate", old.name, "-a", name)
    assert rotated.returncode == 0, rotated.stderr
    accepted(run, rotated.stdout.strip())
    accepted(run, key)
    old.reload()
    assert old.obj["spec"]["replacedBy"].startswith("laptop-")
    assert run("key", "revoke", old.name, "-a", name).returncode == 0
    eventually(lambda: run("session", "list", **with_key).returncode == 4, 20, "the old key is refused")
    states = run("key", "list", "-a", name).stdout
    assert sorted(re.findall(r"active|revoked", states)) == ["active", "revoked"]

    suspended = run("account", "suspend", name)
    assert suspended.returncode == 0, suspended.stderr
    new = {"DRIFTSTACK_API_KEY": rotated.stdout.strip()}
    eventually(lambda: run("session", "list", **new).returncode == 4, 20, "the account's keys are refused")
    assert run("account", "resume", name).returncode == 0

    gone = run("account", "delete", name, "--yes")
    assert gone.returncode == 0, gone.stderr
    assert run("account", "show", name).returncode == 3
    assert pykube.Namespace.objects(kube).get_or_none(name=f"acct-{name}") is None


def test_as_a_plugin_of_kubectl(run: Run, account: Tenant) -> None:
    shown = run("kubectl", "driftstack", "account", "show", account.name, "-o", "yaml")
    assert shown.returncode == 0, shown.stderr
    assert f"namespace: {account.namespace}" in shown.stdout
    assert "Usage: kubectl driftstack" in run("kubectl", "driftstack", "--help").stdout


def test_what_the_cluster_refuses(run: Run, account: Tenant) -> None:
    cases: list[tuple[tuple[str, ...], dict[str, str], int, str]] = [
        (("account", "create", "Upper"), {}, 2, "name"),
        (("account", "create", account.name), {}, 7, "exists already"),
        (("account", "create", "x", "--cap", "10001"), {}, 2, "concurrentSessions"),
        (("key", "create", "-a", "nobody"), {}, 3, "no account nobody"),
        (("key", "create", "-a", account.name, "--name", "x" * 121), {}, 2, "name"),
        (("session", "list"), {"DRIFTSTACK_API_KEY": "ds_live_wrong"}, 4, "Invalid API key"),
    ]
    for words, more, code, told in cases:
        done = run(*words, **more)
        assert (done.returncode, done.stdout) == (code, ""), (words, done.stderr)
        assert told in done.stderr
        assert "Traceback" not in done.stderr


def test_rights_in_one_namespace_are_enough_for_keys(
    run: Run, installation: Installation, account: Tenant, tmp_path: Path
) -> None:
    """A member of an account: the service account `keys` of its namespace, which may do this and nothing else."""
    kubectl, where = installation.run_kubectl, ("-n", account.namespace)
    kubectl("create", "serviceaccount", "keys", *where)
    verbs = "--verb=get,list,create,patch"
    kubectl("create", "role", "keys", verbs, "--resource=apikeys.driftstack.dev", *where)
    binding = f"--serviceaccount={account.namespace}:keys"
    assert kubectl("create", "rolebinding", "keys", "--role=keys", binding, *where).returncode == 0
    token = kubectl("create", "token", "keys", *where).stdout.strip()
    theirs = tmp_path / "theirs"
    theirs.write_text(kubectl("config", "view", "--raw", "-o", "json").stdout)
    edit = ("kubectl", "config", "--kubeconfig", str(theirs))
    assert run(*edit, "set-credentials", "member", f"--token={token}").returncode == 0
    assert (
        run(*edit, "set-context", "--current", "--user=member", f"--namespace={account.namespace}").returncode == 0
    )
    mine = {"KUBECONFIG": str(theirs)}

    def listed() -> Any:
        done = run("key", "list", **mine)
        return done.stdout if done.returncode == 0 else None

    assert "e2e" in eventually(listed, 20, "the member's rights are in force")
    assert run("key", "create", "--name", "theirs", **mine).stdout.startswith("ds_live_")
    refused = run("account", "list", **mine)
    assert (refused.returncode, "administrator" in refused.stderr) == (4, True)


def test_the_story_of_the_reference(run: Run, name: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    (block,) = re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "demo").mkdir()
    lines = block.replace("acme", name).splitlines()
    create = next(number for number, line in enumerate(lines) if "session create" in line)
    lines.insert(create, "until driftstack session list >/dev/null 2>&1; do sleep 0.1; done")
    done = run("bash", "-c", "set -euo pipefail\n" + "\n".join(lines))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo" / "cli.png").read_bytes().startswith(b"\x89PNG")


def accepted(run: Run, key: str) -> None:
    """Wait until the facade knows a new key."""
    eventually(
        lambda: run("session", "list", DRIFTSTACK_API_KEY=key).returncode == 0, 20, "the facade takes the key"
    )
