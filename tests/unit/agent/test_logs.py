from __future__ import annotations

import json
import logging

import pytest

from driftstack_agent.logs import JsonFormatter, shown_url


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
