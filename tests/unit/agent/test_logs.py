from __future__ import annotations

import ast
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftstack_agent import logs
from driftstack_agent.logs import TAIL_BYTES, JsonFormatter, Tail, shown_url


@pytest.fixture
def restored() -> Iterator[None]:
    """Logging as it was."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], sys.excepthook = handlers, hook
    root.setLevel(level)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://a.test/path?query#part", "http://a.test/path"),
        ("https://user:password@a.test:8443/", "https://a.test:8443/"),
        ("http://a@b@c.test/", "http://c.test/"),
        ("http://a.test?query", "http://a.test"),
        ("about:blank", "about:blank"),
        ("http://a.test/" + "x" * 500, "http://a.test/" + "x" * 186),
        ("no url", "(not a URL)"),
        ("", "(not a URL)"),
    ],
)
def test_shown_url_keeps_no_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_a_line_is_json_with_the_events_fields() -> None:
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "step %s", ("failed",), None)
    record.fields = {"code": "timeout"}
    line = json.loads(JsonFormatter().format(record))
    assert line.pop("time").endswith("Z")
    assert line == {"level": "error", "event": "step failed", "code": "timeout"}


def test_of_an_exception_only_type_and_place_are_written() -> None:
    said = "".join(reversed("terces"))  # a traceback shows the source of its lines
    try:
        raise ValueError(said)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    text = JsonFormatter().format(record)
    assert "secret" not in text
    assert json.loads(text)["exception"].endswith("ValueError")
    assert "test_logs.py" in text


def test_of_what_asyncio_writes_only_the_first_line_stays() -> None:
    message = "Task exception was never retrieved\nfuture: <Task exception=CdpError('http://a.test/secret')>"
    text = JsonFormatter().format(logging.LogRecord("asyncio", logging.ERROR, __file__, 1, message, (), None))
    assert json.loads(text)["event"] == "Task exception was never retrieved"
    assert "secret" not in text


def test_what_ends_the_process_is_written_like_the_rest(capsys: pytest.CaptureFixture[str], restored: None) -> None:
    logs.setup()
    sys.excepthook(ValueError, ValueError("http://a.test/secret"), None)
    out, err = capsys.readouterr()
    assert json.loads(out)["exception"] == "ValueError"
    assert "secret" not in out + err


def test_the_last_lines_are_kept(restored: None) -> None:
    logs.setup()
    logs.info("claimed", session="s")
    assert json.loads(logs.tail().splitlines()[-1])["session"] == "s"


@pytest.mark.parametrize("sign", ["x", "é", "\n"])
def test_the_tail_is_bounded_and_has_whole_lines(sign: str) -> None:
    tail = Tail()
    tail.setFormatter(JsonFormatter())
    for number in range(200):
        record = logging.LogRecord("x", logging.INFO, __file__, 1, "step", (), None)
        record.fields = {"number": number, "text": sign * 20}
        tail.emit(record)
    assert TAIL_BYTES - 200 < len(tail.text().encode()) <= TAIL_BYTES
    numbers = [json.loads(line)["number"] for line in tail.text().splitlines()]
    assert numbers == list(range(200 - len(numbers), 200))


def test_a_line_larger_than_the_tail_costs_no_other_line() -> None:
    tail = Tail()
    tail.setFormatter(JsonFormatter())
    for text in ("kept", "x" * 5000):
        record = logging.LogRecord("x", logging.INFO, __file__, 1, "step", (), None)
        record.fields = {"text": text}
        tail.emit(record)
    assert "kept" in tail.text()


ALLOWED = {
    "listening": {"address", "port"},
    "step given up: its client has gone": {"step"},
    "ready": {"browser"},
    "claimed": {"session"},
    "step done": {"step", "kind", "duration_ms"},
    "step failed": {"step", "kind", "code"},
    "page given up": {"why"},
    "page replaced": set(),
    "page left": {"why"},
    "page without the device": {"error"},
    "window not adopted": {"error"},
    "device not shown again": {"error"},
    "event not understood": {"method", "error"},
    "dialog not answered": {"error"},
    "loading not stopped": {"error"},
    "devtools client connected": {"clients"},
    "devtools client leaves": {"code"},
    "devtools client failed": {"trace"},
    "devtools client not detached": {"error"},
    "not restored after a devtools client": {"error"},
    "request failed": {"call", "trace"},
    "ended": {"reason", "message", "exit_code"},
    "termination message not written": {"path", "error"},
}
"""Every line the agent writes, with its fields. A new one is a decision: it outlives the pod, in the record."""


def test_every_log_call_is_one_of_these() -> None:
    found: dict[str, set[str]] = {}
    for path in Path(logs.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("logs.info", "logs.error"):
                event = ast.literal_eval(node.args[0])
                found.setdefault(event, set()).update(word.arg or "**" for word in node.keywords)
    passed_on = {"kind", "**"}  # of _logged
    assert {event: fields - passed_on for event, fields in found.items()} == {
        event: fields - passed_on for event, fields in ALLOWED.items()
    }
