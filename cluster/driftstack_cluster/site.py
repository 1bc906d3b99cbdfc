"""A small site that stands for the internet: the demo's and the tests' pages.

Runs in the node's network namespace on addresses that only exist there. Standard library only, so
that any Python runs it: `python -m driftstack_cluster.site --root cluster/site 203.0.113.10`.

Paths: files of the root; `/status/<code>`; `/slow?ms=N`; `/redirect?to=/path`; `/echo` (request
headers as JSON); `/big?n=N` (a page of N elements); `/memory?mib=N` (a page whose script takes N MiB);
`/form` (shows what was posted).
"""

from __future__ import annotations

import argparse
import html
import json
import mimetypes
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_MOST_SLOW_MS = 120_000
_MOST_ELEMENTS = 100_000
_MOST_BODY = 1024 * 1024
_MOST_MIB = 16_384
_TAKE_MEMORY = """<script>
const kept = [];
// Written to, or the kernel would not give a page of it; bit by bit, so that it is seen to grow.
for (let taken = 0; taken < %d; taken += 16) kept.push(new Uint8Array(16 * 1024 * 1024).fill(taken));
document.title = 'taken';
</script>"""


class SiteHandler(BaseHTTPRequestHandler):
    """Answers from the root folder and a few made-up paths."""

    protocol_version = "HTTP/1.1"
    root = Path()

    def do_GET(self) -> None:
        """Answers a GET."""
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        first, _, rest = url.path.lstrip("/").partition("/")
        made_up: dict[str, Callable[[], None]] = {
            "status": lambda: self._status(rest),
            "slow": lambda: self._slow(_number(query.get("ms"), 1000, _MOST_SLOW_MS)),
            "redirect": lambda: self._redirect(query.get("to", "/")),
            "echo": self._echo,
            "memory": lambda: self._page("Memory", _TAKE_MEMORY % _number(query.get("mib"), 64, _MOST_MIB)),
            "big": lambda: self._big(_number(query.get("n"), 5000, _MOST_ELEMENTS)),
        }
        answer = made_up.get(first)
        if answer is None:
            self._file(url.path)
        else:
            answer()

    def do_POST(self) -> None:
        """Shows what was posted, whatever the path."""
        length = min(int(self.headers.get("Content-Length") or 0), _MOST_BODY)
        body = self.rfile.read(length).decode(errors="replace")
        fields = {name: values[-1] for name, values in parse_qs(body).items()}
        rows = "".join(f"<li>{html.escape(k)}: {html.escape(v)}</li>" for k, v in fields.items())
        self._page("Received", f"<ul id='received'>{rows}</ul>")

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Says nothing: a page with many parts would fill the log."""

    def _status(self, code: str) -> None:
        number = _number(code, 404, 599)
        status = number if 200 <= number <= 599 else 404
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Status"
        self._page(f"{status} {phrase}", f"<p>This page was asked for with status {status}.</p>", status)

    def _slow(self, milliseconds: int) -> None:
        time.sleep(milliseconds / 1000)
        self._page("Slow", f"<p>Answered after {milliseconds} ms.</p>")

    def _redirect(self, target: str) -> None:
        local = target if target.startswith("/") and "\r" not in target and "\n" not in target else "/"
        self._send(302, "text/plain", b"", {"Location": local})

    def _echo(self) -> None:
        content = {"path": self.path, "client": self.client_address[0], "headers": dict(self.headers.items())}
        self._send(200, "application/json", json.dumps(content, indent=2).encode())

    def _big(self, count: int) -> None:
        items = "".join(f"<p id='item-{n}'>Element <b>{n}</b> of {count}</p>\n" for n in range(count))
        self._page("Big", items)

    def _file(self, path: str) -> None:
        name = path.lstrip("/") or "index.html"
        file = (self.root / name).resolve()
        if not file.is_relative_to(self.root.resolve()) or not file.is_file():
            self._status("404")
            return
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        self._send(200, f"{kind}; charset=utf-8" if kind.startswith("text/") else kind, file.read_bytes())

    def _page(self, title: str, body: str, status: int = 200) -> None:
        text = (
            f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>"
            f"<h1>{html.escape(title)}</h1>{body}</html>"
        )
        self._send(status, "text/html; charset=utf-8", text.encode())

    def _send(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        bodyless = status in {204, 304}
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if not bodyless:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and not bodyless:
            self.wfile.write(body)


class SiteServer(ThreadingHTTPServer):
    """One address of the site."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: a browser that goes away in the middle is no error here."""


def servers(root: Path, addresses: list[str], port: int) -> list[SiteServer]:
    """Binds one server per address.

    Raises:
        OSError: an address is not there, or the port is taken.
    """
    handler = type("Handler", (SiteHandler,), {"root": root})
    return [SiteServer((address, port), handler) for address in addresses]


def main(argv: list[str] | None = None) -> None:
    """Serves until killed."""
    parser = argparse.ArgumentParser(description="A small site on addresses of this machine.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("addresses", nargs="+")
    options = parser.parse_args(argv)
    threads = [
        threading.Thread(target=server.serve_forever)
        for server in servers(options.root, options.addresses, options.port)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _number(text: str | None, default: int, most: int) -> int:
    try:
        return max(0, min(int(text or ""), most))
    except ValueError:
        return default


if __name__ == "__main__":
    main()
