"""The web site that the tests browse: a page per behaviour, each as small as it can be."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.integration.agent.bad_pages import BAD_PAGES, SERVICE_WORKER
from tests.integration.agent.forms import FORMS

FIFTY_MB = "<p>some text</p>" * 3 + f"<p>{'many words ' * 5000}</p>" * 950
HELLO = "<!doctype html><title>Hello</title><h1>Hello</h1>"

PAGES = {
    **FORMS,
    **BAD_PAGES,
    "/": HELLO,
    "/hello": HELLO,
    "/red": '<body style="margin:0;background:#f00">',
    "/secretive": "<title>title-secret</title><p>text-secret</p><script>console.log('log-secret');"
    "console.error('error-secret');alert('alert-secret');fetch('/fetch-secret');"
    "throw Error('thrown-secret')</script>",
    "/tall": '<body style="margin:0"><div style="height:3000px;background:#00f"></div>',
    "/noise": "<canvas id=c width=2400 height=2400></canvas><script>"
    "const x=c.getContext('2d'),d=x.createImageData(2400,2400),v=new Uint32Array(d.data.buffer);"
    "for(let i=0;i<v.length;i++)v[i]=0xff000000|Math.random()*0xffffff;x.putImageData(d,0,0)</script>",
    "/huge": "<script>document.write('<p>'+'x'.repeat(7*1024*1024)+'</p>')</script>",
    "/dialogs": "<script>alert('\\ud800\\0');document.title=[confirm(2),prompt(3)].join()</script>",
    "/leave": "<title>leave</title><script>"
    "addEventListener('beforeunload',e=>{e.preventDefault();e.returnValue='stay'})</script>",
    "/popup": "<title>opener</title><script>open('/popped')</script>",
    "/popped": "<title>popped</title><script>alert('popup')</script>",
    "/client-redirect": "<script>location.replace('/hello?from=script')</script>",
    "/client-redirect-dead": "<script>location.replace('http://127.0.0.1:8300/')</script>",
    "/loop": "<title>loop</title><script>addEventListener('load',()=>setTimeout(()=>{for(;;);},0))</script>",
    "/slow-image": "<title>slow</title><img src=/slow?seconds=0.8>",
    "/fetches": "<title>fetches</title><script>addEventListener('load',async()=>{"
    "for(let i=0;i<3;i++){await new Promise(r=>setTimeout(r,200));await fetch('/slow?seconds=0.2')}"
    "document.title='done'})</script>",
    "/stream": "<title>stream</title><script>new EventSource('/events')</script>",
    "/hammer": "<script>for(let i=0;i<3000;i++)fetch('data:,'+i)</script>",
    "/fetch": "<title>waiting</title><script>fetch(location.search.slice(1),{mode:'no-cors'})"
    ".then(()=>document.title='answered',()=>document.title='refused')</script>",
    "/hosts": "<script>const host=text=>{try{const u=new URL(text);"
    "return u.protocol+u.hostname}catch{return null}};"
    "document.title=JSON.stringify(JSON.parse(decodeURIComponent(location.hash.slice(1))).map(host))</script>",
    "/device": "<script>const m=q=>matchMedia(q).matches;document.title=JSON.stringify({ua:navigator.userAgent,"
    "platform:navigator.platform,languages:navigator.languages,width:innerWidth,height:innerHeight,"
    "ratio:devicePixelRatio,touch:navigator.maxTouchPoints,zone:Intl.DateTimeFormat().resolvedOptions().timeZone,"
    "locale:Intl.DateTimeFormat().resolvedOptions().locale,dark:m('(prefers-color-scheme: dark)')})</script>",
}

STATUSES = {"/404": (404, "<h1>no</h1>"), "/404-empty": (404, ""), "/500": (500, "<h1>broken</h1>")}


class Handler(BaseHTTPRequestHandler):
    """Answers by path; notes what it was asked, with the headers."""

    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        """Answer."""
        url = urlsplit(self.path)
        self.server.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        special: dict[str, Callable[[], None]] = {
            "/204": lambda: self._send(204, "", {}),
            "/download": lambda: self._send(200, "abc", {"Content-Disposition": "attachment; filename=abc.txt"}),
            "/redirect": lambda: self._send(302, "", {"Location": "/hello?from=server"}),
            "/redirect-to-loopback": lambda: self._send(302, "", {"Location": "http://127.1:8300/healthz"}),
            "/redirect-forever": lambda: self._send(302, "", {"Location": "/redirect-forever"}),
            "/slow": lambda: self._slow(float(url.query.partition("=")[2] or 1)),
            "/events": self._events,
            "/auth": lambda: self._send(401, "<title>denied</title>", {"WWW-Authenticate": 'Basic realm="x"'}),
            "/megabytes": lambda: self._send(200, f"<title>big</title>{FIFTY_MB}", {}),
            "/cached": lambda: self._send(200, HELLO, {"Cache-Control": "max-age=60"}),
            "/broken": self._break_off,
            "/headers-only": lambda: self._trickle(""),
            "/trickle": lambda: self._trickle("<p>and on</p>"),
            "/worker.js": lambda: self._send(200, SERVICE_WORKER, {"Content-Type": "text/javascript"}),
        }
        if url.path in special:
            special[url.path]()
            return
        status, body = STATUSES.get(url.path, (200, PAGES.get(url.path, "")))
        self._send(status, body, {})

    def _break_off(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _slow(self, seconds: float) -> None:
        self.server.stopping.wait(seconds)
        self._send(200, HELLO, {})

    def _trickle(self, line: str) -> None:
        """Begin a page, and never end it."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.close_connection = True
        until = time.monotonic() + 10
        while time.monotonic() < until and not self.server.stopping.wait(0.05):
            try:
                self.wfile.write(line.encode())
            except OSError:
                return

    def _events(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        until = time.monotonic() + 10
        while time.monotonic() < until and not self.server.stopping.wait(0.1):
            try:
                self.wfile.write(b"data: x\n\n")
            except OSError:
                return

    def _send(self, status: int, body: str, headers: dict[str, str]) -> None:
        data = body.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "text/html", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Stay quiet."""


class Site(ThreadingHTTPServer):
    """The site, served from a thread; with a certificate and its key by HTTPS."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, certificate: tuple[Path, Path] | None = None) -> None:
        super().__init__((address, 0), Handler)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.stopping = threading.Event()
        self.base = f"{'https' if certificate else 'http'}://{address}:{self.server_address[1]}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that breaks off is no error of ours."""

    def stop(self) -> None:
        """Stop serving."""
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        self.server_close()
