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
MOST_ISSUES: Final = 100
"""Most wrong fields that an answer names."""
_FEW: Final = 10
"""Most of them that the detail names, which is one sentence."""
_PATH_LIMIT: Final = 200
"""Most characters of a field's path: unknown fields are named by the caller."""

_log = get_logger(__name__)


class ProblemType(NamedTuple):
    """HTTP status and title of a slug; meaning and example of a detail are for the API's description.

    Attributes:
        also: further statuses, where HTTP has one of its own for a case.
    """

    status: int
    title: str
    meaning: str
    example: str
    also: tuple[int, ...] = ()


TYPES: Final[dict[str, ProblemType]] = {
    "bad-request": ProblemType(
        400,
        "Bad request",
        "What was sent can't be read: no HTTP, no JSON, no UTF-8. With 405 the method is not possible here "
        "(`Allow` names those that are), with 408 the body took too long to arrive.",
        "The body is not JSON in UTF-8. Invalid JSON: EOF while parsing an object at line 1 column 1.",
        also=(405, 408),
    ),
    "validation-failed": ProblemType(
        400, "Validation failed", "Fields are wrong; `issues` names each.", "The request is not valid: label."
    ),
    "unauthorized": ProblemType(
        401,
        "Unauthorized",
        "There is no usable Authorization header.",
        "Send the header `Authorization: Bearer ds_live_…`, once.",
    ),
    "invalid-key": ProblemType(401, "Invalid API key", "Nobody has this API key.", "This API key is not known."),
    "revoked-key": ProblemType(401, "Revoked API key", "The API key was revoked.", "This API key was revoked."),
    "expired-key": ProblemType(401, "Expired API key", "The API key has expired.", "This API key has expired."),
    "forbidden": ProblemType(
        403,
        "Forbidden",
        "The key lacks a scope, which the detail names, or the account is suspended.",
        "This API key lacks the scope `write:sessions`.",
    ),
    "not-found": ProblemType(
        404,
        "Not found",
        "There is no such session, key, webhook, profile or address; what belongs to another account is no "
        "different.",
        "There is no such session.",
    ),
    "conflict": ProblemType(
        409,
        "Conflict",
        "It is not possible now: a step is running, the session is still being created, or the Idempotency-Key was "
        "used for another body; a key or a webhook endpoint has ended, or there are as many as there can be.",
        "A step is running in this session; one runs at a time.",
    ),
    "session-destroyed": ProblemType(
        410, "Session destroyed", "The session has ended, perhaps during the step.", "The session has ended."
    ),
    "payload-too-large": ProblemType(
        413,
        "Payload too large",
        "The body, or what a step would answer, is larger than it can be.",
        "A request body can have at most 1048576 bytes.",
    ),
    "rate-limited": ProblemType(
        429,
        "Rate limited",
        "The account makes more calls than it may: the bucket that this one is taken from is empty.",
        "Too many calls: the bucket `sessions:create` of this account is empty. Wait 3 s.",
    ),
    "concurrency-limit": ProblemType(
        429,
        "Concurrency limit reached",
        "The account has as many live sessions as it can have.",
        "This account can have 2 live sessions. Wait for one to end, or delete one.",
    ),
    "internal": ProblemType(
        500, "Internal error", "A fault of ours; the log has the request's id.", "Something went wrong on our side."
    ),
    "driver-error": ProblemType(
        502,
        "Driver error",
        "The page could not be loaded, and the session is ready for the next step; or the browser failed.",
        "net::ERR_CONNECTION_REFUSED.",
    ),
    "feature-unavailable": ProblemType(
        503,
        "Feature unavailable",
        "It is not possible right now, and will be again soon: the cluster's API is away, the account is not "
        "ready, there are too many requests at once, a session takes long to end.",
        "The cluster's API is not available right now.",
    ),
    "session-timeout": ProblemType(
        504,
        "Session timeout",
        "The step took longer than its `timeout_ms`; the session is ready again if the browser still answers.",
        "The step took longer than 30000 ms.",
    ),
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
    fields = [issue.path[:_PATH_LIMIT] or "the body" for issue in issues[:_FEW]]
    more = f" and {len(issues) - _FEW} more" if len(issues) > _FEW else ""
    return Problem(
        "validation-failed",
        f"The request is not valid: {', '.join(fields)}{more}.",
        issues=[{"path": issue.path[:_PATH_LIMIT], "message": issue.message} for issue in issues[:MOST_ISSUES]],
    )


def said(error: Mapping[str, Any]) -> str:
    """Return what to tell about a wrong field: pydantic's words, but where they are about Python, or echo."""
    match error["type"]:
        case "value_error":
            return str(error["ctx"]["error"])
        case "extra_forbidden":
            return "There is no such field"
        case "model_type" | "model_attributes_type":
            return "Input should be an object"
        case "union_tag_not_found":
            return "Field required"
        case "union_tag_invalid":
            return f"Input should be one of {error['ctx']['expected_tags']}"
    return str(error["msg"])


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
    return invalid([Issue(dotted(issue["loc"][1:]), said(issue)) for issue in error.errors()])


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
