"""Routes that resolve their own dependencies when those are as simple as most of ours.

FastAPI's resolver caches, nests and unwinds what it calls, for each request anew: a third of the time of a read.
An endpoint that takes the request, its path, and what dependencies make of the request alone needs none of that.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response


class Route(APIRoute):
    """FastAPI's route and its description; simple endpoints that return a Response are called directly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        returns = inspect.signature(self.endpoint, eval_str=True).return_annotation
        if returns is not Response or not _is_simple(self.dependant):
            return super().get_route_handler()
        return _caller(self.endpoint, self.dependant)


def _is_simple(endpoint: Dependant) -> bool:
    """Whether it takes nothing but texts of its path and what dependencies make of the request."""
    return (
        not _reads_more(endpoint)
        and all(field.field_info.annotation is str for field in endpoint.path_params)
        and not any(
            _reads_more(each) or each.path_params or each.dependencies or not _is_called_with_request(each)
            for each in endpoint.dependencies
        )
    )


def _is_called_with_request(dependency: Dependant) -> bool:
    asks = getattr(dependency.call, "__call__", None)  # noqa: B004 - an object like auth.Requires, not any function
    return dependency.request_param_name is not None and inspect.iscoroutinefunction(asks)


def _reads_more(taken: Dependant) -> bool:
    return bool(
        taken.query_params
        or taken.header_params
        or taken.cookie_params
        or taken.body_params
        or taken.response_param_name
        or taken.background_tasks_param_name
        or taken.security_scopes_param_name
    )


def _caller(
    endpoint: Callable[..., Coroutine[Any, Any, Response]], taken: Dependant
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    dependencies: list[tuple[str, Any]] = [(str(each.name), each.call) for each in taken.dependencies]

    async def handle(request: Request) -> Response:
        values = dict(request.path_params)
        if taken.request_param_name:
            values[taken.request_param_name] = request
        for name, dependency in dependencies:
            values[name] = await dependency(request)
        return await endpoint(**values)

    return handle
