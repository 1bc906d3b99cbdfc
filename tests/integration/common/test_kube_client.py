"""The client of the API server against servers that are none; the real one is met in tests/e2e."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from driftstack_common.kube.client import POD, KubeClient
from driftstack_common.kube.errors import KubeError, NotFound, Unreachable

ANSWERS = {
    "page": (200, "<html>a proxy's page</html>"),
    "nothing": (200, ""),
    "text": (502, "bad gateway"),
    "list": (503, "[]"),
    "status": (404, '{"kind": "Status", "reason": "NotFound", "message": "no such pod"}'),
}


@pytest.fixture
async def client() -> AsyncIterator[KubeClient]:
    async def handle(request: web.Request) -> web.Response:
        status, text = ANSWERS[request.path.rsplit("/", 1)[1]]
        return web.Response(text=text, status=status, content_type="application/json")

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
        ("page", Unreachable, "JSONDecodeError"),
        ("nothing", Unreachable, "JSONDecodeError"),
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
