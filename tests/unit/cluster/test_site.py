"""The made-up internet answers as the tests of browsers expect."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftstack_cluster import site

ROOT = Path(__file__).parents[3] / "cluster" / "site"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    [server] = site.servers(ROOT, ["127.0.0.1"], 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def _get(port: int, path: str, method: str = "GET", body: str | None = None) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, body)
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer.status, content, dict(answer.getheaders())


@pytest.mark.parametrize("text", ["<h1", "<svg", "風", "⛵", "<input", 'href="/second.html"'])
def test_the_page_has_what_a_capture_should_show(port: int, text: str) -> None:
    status, content, headers = _get(port, "/")

    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert text in content
    assert "http:" not in content
    assert "https:" not in content


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/second.html", 200),
        ("/nothing", 404),
        ("/../../README.md", 404),
        ("/status/503", 503),
        ("/status/204", 204),
        ("/status/words", 404),
        ("/status/99", 404),
        ("/slow?ms=1", 200),
    ],
)
def test_statuses(port: int, path: str, status: int) -> None:
    assert _get(port, path)[0] == status


@pytest.mark.parametrize(("target", "location"), [("/second.html", "/second.html"), ("http://x.test/", "/")])
def test_redirects_stay_on_the_site(port: int, target: str, location: str) -> None:
    status, _, headers = _get(port, f"/redirect?to={target}")

    assert (status, headers["Location"]) == (302, location)


def test_echo_shows_the_request(port: int) -> None:
    content = json.loads(_get(port, "/echo?a=b")[1])

    assert content["path"] == "/echo?a=b"
    assert content["headers"]["Host"] == f"127.0.0.1:{port}"


def test_big_has_as_many_elements_as_asked_for(port: int) -> None:
    assert _get(port, "/big?n=321")[1].count("<p id=") == 321


def test_a_form_comes_back_escaped(port: int) -> None:
    assert "<li>harbour: &lt;b&gt;</li>" in _get(port, "/form", "POST", "harbour=%3Cb%3E")[1]
