"""The client of the API server against servers that are none; the real one is met in tests/e2e."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from driftstack_common.kube.client import POD, KubeClient
from driftstack_common.kube.errors import KubeError, NotFound, Unreachable
from driftstack_common.times import ServerClock

ANSWERS = {
    "page": (200, "<html>a proxy's page</html>"),
    "nothing": (200, ""),
    "text": (502, "bad gateway"),
    "list": (503, "[]"),
    "status": (404, '{"kind": "Status", "reason": "NotFound", "message": "no such pod"}'),
}


LONG_AGO = "Tue, 12 May 2026 12:00:00 GMT"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> ServerClock:
    """A clock of this test alone: the server's is wrong."""
    clock = ServerClock()
    monkeypatch.setattr("driftstack_common.kube.client.CLOCK", clock)
    return clock


@pytest.fixture
async def client() -> AsyncIterator[KubeClient]:
    async def handle(request: web.Request) -> web.Response:
        status, text = ANSWERS[request.path.rsplit("/", 1)[1]]
        headers = {"Date": LONG_AGO} | ({} if status == 502 else {"Audit-Id": "1"})
        return web.Response(text=text, status=status, content_type="application/json", headers=headers)

    application = web.Application()
    application.router.add_get("/{path:.*}", handle)
    async with TestServer(application) as server:
        configuration = Configuration(host=f"http://{server.host}:{server.port}")
        client = KubeClient(configuration)
        yield client
        await client.close()


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("page", Unreachable, "DecodeError"),
        ("nothing", Unreachable, "DecodeError"),
        ("text", KubeError, "bad gateway"),
        ("list", KubeError, "answered 503"),
        ("status", NotFound, "no such pod"),
    ],
)
async def test_whatever_comes_is_an_error_of_ours(
    client: KubeClient, name: str, kind: type[KubeError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        await client.get(POD, "somewhere", name)
    assert type(caught.value) is kind


async def test_every_answer_tells_the_time(client: KubeClient, clock: ServerClock) -> None:
    with pytest.raises(NotFound):
        await client.get(POD, "somewhere", "status")
    assert abs((clock.now - datetime(2026, 5, 12, 12, 0, tzinfo=UTC)).total_seconds()) < 5


async def test_session_for_a_library_has_the_credentials_of_the_moment(client: KubeClient) -> None:
    seen: list[str | None] = []

    async def look(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        seen.append(request.headers.get("Authorization"))
        return await handler(request)

    async with client.open_session(look) as session:
        for token in ("Bearer one", "Bearer two"):
            client._configuration.api_key["BearerToken"] = token
            async with session.get(f"{client.host}/nothing"):
                pass
    assert seen == ["Bearer one", "Bearer two"]


async def test_a_proxys_answer_tells_no_time(client: KubeClient, clock: ServerClock) -> None:
    with pytest.raises(KubeError):
        await client.get(POD, "somewhere", "text")
    assert abs((clock.now - datetime.now(UTC)).total_seconds()) < 5
