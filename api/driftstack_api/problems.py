"""Every answer that is not a success: `application/problem+json` (RFC 9457), flat, with our own types.

Code anywhere in the facade raises `Problem`; what libraries raise is translated here, once. Nothing about the
inside (exceptions, addresses, stack traces) gets into an answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from driftstack_common.errors import DriftstackError
from driftstack_common.kube.errors import KubeError, Unreachable
from driftstack_common.logging import get_logger

MEDIA_TYPE: Final = "application/problem+json"

_log = get_logger(__name__)


class ProblemType(NamedTuple):
    """HTTP status and title of a slug."""

    status: int
    title: str


TYPES: Final[dict[str, ProblemType]] = {
    "bad-request": ProblemType(400, "Bad request"),
    "validation-failed": ProblemType(400, "Validation failed"),
    "unauthorized": ProblemType(401, "Unauthorized"),
    "invalid-key": ProblemType(401, "Invalid API key"),
    "revoked-key": ProblemType(401, "Revoked API key"),
    "expired-key": ProblemType(401, "Expired API key"),
    "forbidden": ProblemType(403, "Forbidden"),
    "not-found": ProblemType(404, "Not found"),
    "conflict": ProblemType(409, "Conflict"),
    "session-destroyed": ProblemType(410, "Session destroyed"),
    "payload-too-large": ProblemType(413, "Payload too large"),
    "concurrency-limit": ProblemType(429, "Concurrency limit reached"),
    "internal": ProblemType(500, "Internal error"),
    "driver-error": ProblemType(502, "Driver error"),
    "feature-unavailable": ProblemType(503, "Feature unavailable"),
    "session-timeout": ProblemType(504, "Session timeout"),
}


class Issue(NamedTuple):
    """One wrong field; path is dotted, e.g. `metadata` or `limit`, empty for the whole body."""

    path: str
    message: str


class Problem(DriftstackError):
    """An answer that is not a success.

    Args:
        slug: a key of TYPES.
        detail: a sentence for the caller; no secrets, nothing about the inside.
        headers: beyond those that every answer has.
        status: differs from the slug's own only for HTTP's special cases (405).
        extensions: further members of the document.
    """

    def __init__(
        self,
        slug: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(f"{slug}: {detail}")
        self.slug = slug
        self.detail = detail
        self.status = status or TYPES[slug].status
        self.headers = dict(headers or {})
        self.extensions = extensions


def invalid(issues: Sequence[Issue]) -> Problem:
    """Return the problem for wrong fields."""
    fields = ", ".join(issue.path or "the body" for issue in issues)
    return Problem(
        "validation-failed",
        f"The request is not valid: {fields}.",
        issues=[{"path": issue.path, "message": issue.message} for issue in issues],
    )


def unavailable(detail: str, retry_after: int = 2) -> Problem:
    """Return the problem for what works again soon."""
    return Problem("feature-unavailable", detail, headers={"Retry-After": str(retry_after)})


def dotted(location: Sequence[int | str]) -> str:
    """Return the path of a field as issues show it."""
    return ".".join(str(part) for part in location)


def render(problem: Problem, base: str, request_id: str) -> Response:
    """Return the answer; base is what types begin with."""
    document = {
        "type": f"{base}{problem.slug}",
        "title": TYPES[problem.slug].title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request_id,
        **problem.extensions,
    }
    body = json.dumps(document, separators=(",", ":")).encode()
    return Response(body, problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def from_kube(error: KubeError) -> Problem:
    """Return the problem for an answer of the API server that no service expected."""
    if isinstance(error, Unreachable) or error.status == 429 or error.status >= 500:
        _log.warning("the API server is not available", error=str(error))
        return unavailable("The cluster's API is not available right now.", int(error.retry_after or 2))
    if error.status in (401, 403):
        # An API server that starts refuses everybody until it has read its roles and service accounts.
        _log.error("the API server refuses us", status=error.status, error=str(error))
        return unavailable("The cluster's API does not let this service in right now.")
    _log.error("unexpected answer of the API server", status=error.status, error=str(error))
    return Problem("internal", "Something went wrong on our side.")


def from_http(request: Request, error: HTTPException) -> Problem:
    """Return the problem for what routing raises: no such route, or not this method."""
    if error.status_code == 405:
        allowed = ", ".join(_methods(request))
        detail = f"{request.method} is not possible here, only {allowed}."
        return Problem("bad-request", detail, status=405, headers={"Allow": allowed})
    if error.status_code == 404:
        return Problem("not-found", "There is nothing at this address.")
    slug = "bad-request" if error.status_code < 500 else "internal"
    return Problem(slug, "The request could not be handled.", status=error.status_code)


def from_validation(error: RequestValidationError) -> Problem:
    """Return the problem for wrong query parameters (bodies are read by `bodies.JsonBody`)."""
    return invalid([Issue(dotted(issue["loc"][1:]), issue["msg"]) for issue in error.errors()])


def _methods(request: Request) -> list[str]:
    """Every method of this path; Starlette names those of one route only."""
    found = []
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        scope = {**request.scope, "method": method, "path_params": {}}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            found.append(method)
    return found


def install(app: FastAPI, base: str) -> None:
    """Make the app answer with problems whatever is raised in it."""

    def on(translate: Callable[[Request, Any], Problem]) -> Callable[[Request, Any], Any]:
        async def handler(request: Request, error: Exception) -> Response:
            return render(translate(request, error), base, request.state.request_id)

        return handler

    app.add_exception_handler(Problem, on(lambda _, error: error))
    app.add_exception_handler(KubeError, on(lambda _, error: from_kube(error)))
    app.add_exception_handler(HTTPException, on(from_http))
    app.add_exception_handler(RequestValidationError, on(lambda _, error: from_validation(error)))
