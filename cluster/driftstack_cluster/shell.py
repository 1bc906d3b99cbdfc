"""Calls of other programs: one place that turns their failures into ours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from driftstack_cluster.errors import CommandFailed, Precondition

_PROXY_VARIABLES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


def local_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The caller's environment for programs that only talk to this machine: no proxies, no KUBECONFIG."""
    dropped = _PROXY_VARIABLES | {"kubeconfig"}
    kept = {name: value for name, value in os.environ.items() if name.lower() not in dropped}
    kept["PATH"] = kept.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
    return {**kept, **(extra or {})}


def proxy_environment() -> dict[str, str]:
    """The caller's proxies, for programs that talk to other machines."""
    return {name: value for name, value in os.environ.items() if name.lower() in _PROXY_VARIABLES}


def run(
    argv: Sequence[object],
    *,
    stdin: str | bytes | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    hint: str = "",
) -> str:
    """Runs a program and returns its standard output.

    The words of `argv` may be paths; each is passed as its `str`.

    Raises:
        CommandFailed: it ended with an error, or took longer than `timeout` seconds.
        Precondition: it is not installed.
    """
    words = [str(word) for word in argv]
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        done = subprocess.run(
            words,
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            env=dict(environment) if environment is not None else local_environment(),
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise Precondition(f"{words[0]} is not installed", hint) from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(" ".join(words[:3]), 124, f"no answer in {timeout} s", hint) from error
    if done.returncode != 0:
        output = (done.stdout + done.stderr).decode(errors="replace")
        raise CommandFailed(" ".join(words[:4]), done.returncode, output, hint)
    return done.stdout.decode(errors="replace")


def succeeds(argv: Sequence[object], timeout: float | None = 30) -> bool:
    """Whether a program is there and ends well."""
    try:
        run(argv, timeout=timeout)
    except (CommandFailed, Precondition):
        return False
    return True
