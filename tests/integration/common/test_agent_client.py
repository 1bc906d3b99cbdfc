"""The agent client against servers that misbehave; the real agent is met in tests/integration/agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from driftstack_common.agent_client import AgentClient, AgentProblem, AgentTimeout, AgentUnreachable, open_session
from driftstack_common.kinds.archetype import Device, Viewport
from driftstack_common.protocol import AgentState, Capture, Claim, Navigate, ProblemCode

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]

CLAIM = Claim(session="s", device=Device(viewport=Viewport(width=1, height=1)))


@pytest.fixture
async def client() -> AsyncIterator[AgentClient]:
    async with open_session() as session:
        yield AgentClient(session)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[TestServer] = []

    async def start(handler: Handler) -> str:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handler)
        server = TestServer(application)
        servers.append(server)
        await server.start_server()
        return f"{server.host}:{server.port}"

    yield start
    for server in servers:
        await server.close()


def answer(text: str, status: int = 200) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(text=text, status=status)

    return handle


async def test_nobody_listens_is_safe_to_repeat(client: AgentClient) -> None:
    with pytest.raises(AgentUnreachable) as caught:
        await client.claim(f"127.0.0.1:{unused_port()}", "t", CLAIM)
    assert caught.value.sent is False


async def test_connection_that_breaks_off_may_have_been_acted_on(client: AgentClient, serve: Serve) -> None:
    async def break_off(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    with pytest.raises(AgentUnreachable) as caught:
        await client.navigate(await serve(break_off), "t", "s", Navigate(url="about:blank"))
    assert caught.value.sent is True


async def test_agent_that_never_answers_meets_the_deadline(client: AgentClient, serve: Serve) -> None:
    release = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    address = await serve(hang)
    with pytest.raises(AgentTimeout):
        await client.claim(address, "t", CLAIM, timeout=0.05)
    release.set()


async def test_problem_keeps_code_message_and_details(client: AgentClient, serve: Serve) -> None:
    body = '{"code": "holder-conflict", "message": "taken", "details": {"holder": "x"}}'
    with pytest.raises(AgentProblem) as caught:
        await client.claim(await serve(answer(body, 409)), "t", CLAIM)
    problem = caught.value
    assert (problem.code, problem.message, problem.details) == (
        ProblemCode.HOLDER_CONFLICT,
        "taken",
        {"holder": "x"},
    )


@pytest.mark.parametrize(
    ("text", "status"), [("<html>", 200), ("{}", 200), ("<html>", 502), ('{"code": "new"}', 400)]
)
async def test_what_is_no_agent_is_unreachable(client: AgentClient, serve: Serve, text: str, status: int) -> None:
    with pytest.raises(AgentUnreachable):
        await client.claim(await serve(answer(text, status)), "t", CLAIM)


async def test_health_is_told_while_starting(client: AgentClient, serve: Serve) -> None:
    health = await client.health(await serve(answer('{"state": "starting", "unheard": 1}', 503)))
    assert health.state is AgentState.STARTING


async def test_capture_comes_raw_with_its_duration_and_sends_the_token(client: AgentClient, serve: Serve) -> None:
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        assert "Origin" not in request.headers
        seen.append(f"{request.method} {request.path} {request.headers['Authorization']}")
        return web.Response(body=b"\x89PNG", headers={"x-driftstack-duration-ms": "12"})

    captured = await client.capture(await serve(handle), "t", "s", Capture(kind="screenshot"))
    assert (captured.data, captured.duration_ms) == (b"\x89PNG", 12)
    assert seen == ["POST /sessions/s/capture Bearer t"]


async def test_answer_larger_than_any_capture_is_not_read_to_its_end(client: AgentClient, serve: Serve) -> None:
    async def pour(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(200):
            await response.write(b"x" * 65536)
        return response

    with pytest.raises(AgentUnreachable, match="more than"):
        await client.capture(await serve(pour), "t", "s", Capture(kind="pdf"))


async def test_connections_are_reused(client: AgentClient, serve: Serve) -> None:
    ports: set[object] = set()

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername"))
        return web.Response(text='{"state": "warm"}')

    address = await serve(handle)
    for _ in range(3):
        await client.health(address)
    assert len(ports) == 1
