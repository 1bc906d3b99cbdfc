"""What keeps others out: the token, the marks of web pages, bounds, and what /proc shows."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from driftstack_agent.http_server import BODY_LIMIT
from tests.integration.agent.pod import SESSION, Driver
from tests.integration.agent.site import Site
from tests.integration.agent.steps import navigate, page_title


@pytest.mark.parametrize(
    "token", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic {token}", "{token}", "Bearer {token}x"]
)
@pytest.mark.parametrize("call", [("POST", "/claim"), ("GET", f"/sessions/{SESSION}"), ("GET", "/no-such")])
async def test_every_call_but_health_needs_the_token(session: Driver, token: str, call: tuple[str, str]) -> None:
    headers = {"Authorization": token.format(token=session.pod.token)}
    status, problem = await session.call(*call, headers=headers)
    assert (status, problem["code"]) == (401, "unauthorized")


async def test_health_needs_none(session: Driver) -> None:
    async with session.http.get(f"http://{session.pod.address}/healthz") as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.test"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "none"},
        {"Host": "evil.test:8300"},
        {"Host": ""},
    ],
)
@pytest.mark.parametrize("path", ["/healthz", f"/sessions/{SESSION}"])
async def test_what_a_page_sends_is_refused(session: Driver, headers: dict[str, str], path: str) -> None:
    status, problem = await session.call("GET", path, headers=headers)
    assert (status, problem["code"]) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/claim"), ("POST", f"/sessions/{SESSION}"), ("POST", "/healthz")]
)
async def test_there_are_no_other_calls(session: Driver, method: str, path: str) -> None:
    status, problem = await session.call(method, f"{path}?secret")
    assert (status, problem["code"]) == (404, "not-found")
    assert problem["message"] == f"there is no {method} {path}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"url":"http://a.test/","extra":1}',
        b'{"url":"http://a.test/","timeout_ms":99}',
        b'{"url":"http://a.test/","wait_until":"never"}',
        b'{"url":"http://a.test/\xff"}',
        b'{"url":7}',
    ],
)
async def test_a_malformed_step_is_invalid(session: Driver, body: bytes) -> None:
    status, problem = await session.call("POST", f"/sessions/{SESSION}/navigate", body)
    assert (status, problem["code"]) == (400, "invalid")


async def test_a_body_over_the_limit_is_refused(session: Driver) -> None:
    body = json.dumps({"url": "http://a.test/" + "x" * BODY_LIMIT}).encode()
    status, problem = await session.call("POST", f"/sessions/{SESSION}/navigate", body)
    assert (status, problem["code"]) == (413, "too-large")
    assert problem["details"] == {"limit_bytes": BODY_LIMIT, "size_bytes": len(body)}


async def raw(driver: Driver, data: bytes) -> bytes:
    host, _, port = driver.pod.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET /healthz\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 1.2.3.4\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"POST /claim HTTP/1.1\r\nHost: 1.2.3.4\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    ],
)
async def test_bad_http_gets_an_answer_and_the_door(session: Driver, data: bytes) -> None:
    assert (await raw(session, data)).startswith((b"HTTP/1.1 400", b"HTTP/1.1 401"))
    await session.ready()


async def test_an_endless_chunked_body_is_cut_off(session: Driver) -> None:
    head = b"POST /claim HTTP/1.1\r\nHost: 1.2.3.4\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    assert (await raw(session, head + chunk * (BODY_LIMIT // 0x4000 + 1))).startswith(b"HTTP/1.1 413")


async def test_a_connection_serves_pipelined_requests(session: Driver) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: 1.2.3.4\r\n%s\r\n"
    answer = await raw(session, one % b"" + one % b"Connection: close\r\n")
    assert answer.count(b"HTTP/1.1 200") == 2


def test_the_token_is_nowhere_in_proc(session: Driver) -> None:
    pids = [session.pod.pid, *session.pod.processes()]
    assert len(pids) > 4
    for pid in pids:
        for name in ("environ", "cmdline"):
            assert session.pod.token.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    assert b"DRIFTSTACK" not in b"".join(Path(f"/proc/{pid}/environ").read_bytes() for pid in pids[1:])


async def test_another_process_of_the_same_user_cannot_read_the_agents_memory(session: Driver) -> None:
    reader = f"open('/proc/{session.pod.pid}/mem','rb')"
    process = await asyncio.create_subprocess_exec(
        *("nsenter", f"--target={session.pod.processes()[0]}", "--user", "--preserve-credentials"),
        *("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "python3", "-c", reader),
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert b"PermissionError" in errors, errors


@pytest.mark.parametrize("target", ["{pod}", "127.0.0.1:8300", "localhost:8300", "[::ffff:127.0.0.1]:8300"])
async def test_a_page_cannot_reach_the_agent(session: Driver, site: Site, target: str) -> None:
    url = f"http://{target.format(pod=session.pod.address)}/healthz"
    await navigate(session, f"{site.base}/fetch?{url}", wait_until="networkidle", timeout_ms=8000)
    assert await page_title(session) == "refused"
    # The same page tells when a fetch is answered.
    await navigate(session, f"{site.base}/fetch?{site.base}/hello", wait_until="networkidle", timeout_ms=8000)
    assert await page_title(session) == "answered"
