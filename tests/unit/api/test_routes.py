"""Simple endpoints are called directly; all others stay with FastAPI."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Security
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.testclient import TestClient

from driftstack_api.routes import Route, _caller
from driftstack_api.sessions import endpoints


class Said:
    """A dependency of the request alone."""

    def __init__(self, header: str) -> None:
        self._header = header

    async def __call__(self, request: Request) -> str | None:
        return request.headers.get(self._header)


class Body(BaseModel):
    x: int = 0


def said(request: Request) -> str:
    return "by a function"


def nested(said: Annotated[str, Depends(Said("x-a"))]) -> str:
    return said


async def simple(
    request: Request, name: str, a: Annotated[str, Security(Said("x-a"))], b: Annotated[str, Depends(Said("x-b"))]
) -> Response:
    return JSONResponse([request.url.path, name, a, b])


async def no_request(name: str) -> Response:
    return JSONResponse(name)


async def with_number(name: int) -> Response:
    return JSONResponse(name)


async def with_query(name: str, size: int = 1) -> Response:
    return JSONResponse([name, size])


async def with_header(name: str, x_a: Annotated[str | None, Header()] = None) -> Response:
    return JSONResponse([name, x_a])


async def with_body(name: str, body: Body) -> Response:
    return JSONResponse([name, body.x])


async def with_response(name: str, response: Response) -> Response:
    return JSONResponse(name)


async def with_function(name: str, a: Annotated[str, Depends(said)]) -> Response:
    return JSONResponse([name, a])


async def with_nested(name: str, a: Annotated[str, Depends(nested)]) -> Response:
    return JSONResponse([name, a])


async def with_model(name: str) -> Body:
    return Body(x=len(name))


def routed(endpoint: Any) -> FastAPI:
    router = APIRouter(route_class=Route)
    router.add_api_route("/{name}", endpoint, methods=["POST"])
    app = FastAPI()
    app.include_router(router)
    return app


def is_direct(route: Any) -> bool:
    return route.get_route_handler().__qualname__.startswith(_caller.__qualname__)


@pytest.mark.parametrize("endpoint", [simple, no_request])
def test_simple_endpoints_are_called_directly(endpoint: Any) -> None:
    assert is_direct(Route("/{name}", endpoint))


@pytest.mark.parametrize(
    "endpoint",
    [
        with_number,
        with_query,
        with_header,
        with_body,
        with_response,
        with_function,
        with_nested,
        with_model,
    ],
)
def test_whatever_else_an_endpoint_takes_or_gives_is_fastapis(endpoint: Any) -> None:
    assert not is_direct(Route("/{name}", endpoint))


def test_a_direct_call_gives_what_the_endpoint_names() -> None:
    with TestClient(routed(simple)) as client:
        answer = client.post("/x", headers={"x-a": "1", "x-b": "2"})
    assert answer.json() == ["/x", "x", "1", "2"]


def test_reads_of_a_session_are_direct() -> None:
    direct = {route.name for route in endpoints.router.routes if is_direct(route)}
    assert direct >= {"read", "capture", "destroy"}
