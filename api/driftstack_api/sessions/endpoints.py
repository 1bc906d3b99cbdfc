"""The routes of `/v1/sessions`: read the request, call one service, answer."""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request, Response, Security

from driftstack_api.answers import answer
from driftstack_api.auth import READ_SESSIONS, WRITE_SESSIONS, Caller, Requires
from driftstack_api.bodies import JsonBody, request_body
from driftstack_api.openapi import problems
from driftstack_api.problems import Issue, invalid
from driftstack_api.routes import Route
from driftstack_api.services import services
from driftstack_api.sessions.schemas import (
    DEFAULT_TIMEOUT_MS,
    CaptureRequest,
    CaptureResult,
    CreateSession,
    NavigateRequest,
    NavigateResult,
    PageQuery,
    SessionObject,
    SessionPage,
)
from driftstack_common.protocol import Capture, Navigate

LONGEST_WAIT: Final = 30
"""Most seconds of `Prefer: wait`."""
BODIES: Final = (CreateSession, NavigateRequest, CaptureRequest)

_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")
_WAIT: Final = re.compile(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?', re.IGNORECASE)

router = APIRouter(prefix="/v1/sessions", tags=["sessions"], route_class=Route)

Reader = Annotated[Caller, Security(Requires(READ_SESSIONS))]
Writer = Annotated[Caller, Security(Requires(WRITE_SESSIONS))]
STEP_PROBLEMS = problems(
    "bad-request",
    "validation-failed",
    "not-found",
    "conflict",
    "session-destroyed",
    "payload-too-large",
    "driver-error",
    "session-timeout",
)


@router.get(
    "/{session_id}", summary="Read a session", response_model=SessionObject, responses=problems("not-found")
)
async def read(request: Request, session_id: str, caller: Reader) -> Response:
    """One session, also after its end for as long as history is kept."""
    return answer(await services(request).sessions.get(caller, session_id))


@router.post(
    "",
    status_code=201,
    summary="Create a session",
    response_model=SessionObject,
    openapi_extra=request_body(CreateSession, required=False),
    responses=problems(
        "bad-request",
        "validation-failed",
        "not-found",
        "conflict",
        "payload-too-large",
        "concurrency-limit",
    ),
)
async def create(
    request: Request,
    caller: Writer,
    body: Annotated[CreateSession, Depends(JsonBody(CreateSession, optional=True))],
    idempotency_key: Annotated[str | None, Header(description="1 to 255 printable ASCII characters.")] = None,
    prefer: Annotated[str | None, Header(description="`wait=N`: answer once ready, or after N <= 30 s.")] = None,
) -> Response:
    """Start a browser. The session is `creating` until its browser answers."""
    scope = services(request)
    created = await scope.creator.create(caller, body, _idempotency_key(idempotency_key))
    headers = {"Idempotent-Replayed": "1"} if created.replayed else {}
    entry, wait = created.entry, preferred_wait(prefer)
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"
        entry = await scope.creator.wait_ready(entry, wait)
    return answer(scope.sessions.show(entry, caller), 201, headers)


@router.get("", summary="List sessions", response_model=SessionPage, responses=problems("validation-failed"))
async def list_sessions(request: Request, caller: Reader, page: Annotated[PageQuery, Query()]) -> Response:
    """Sessions of the account, newest first, ended ones included."""
    return answer(await services(request).sessions.list_page(caller, page.limit, page.cursor))


@router.delete("/{session_id}", status_code=204, summary="End a session", responses=problems("not-found"))
async def destroy(request: Request, session_id: str, caller: Writer) -> Response:
    """Ends the session and answers when it has gone. Repeating it is fine."""
    await services(request).sessions.destroy(caller, session_id)
    return Response(status_code=204)


@router.post(
    "/{session_id}/navigate",
    summary="Load a page",
    openapi_extra=request_body(NavigateRequest),
    responses=STEP_PROBLEMS,
)
async def navigate(
    request: Request,
    session_id: str,
    caller: Writer,
    body: Annotated[NavigateRequest, Depends(JsonBody(NavigateRequest))],
) -> NavigateResult:
    """Loads a URL in the session's page. A page that answers 404 is a success with status 404."""
    scope = services(request)
    timeout_ms = body.timeout_ms or DEFAULT_TIMEOUT_MS
    step = Navigate(url=body.url, wait_until=body.wait_until or "load", timeout_ms=timeout_ms)
    done = await scope.steps.run(
        caller, session_id, timeout_ms, lambda session: scope.agents.navigate(session, step)
    )
    return NavigateResult.model_validate(msgspec.to_builtins(done))


@router.post(
    "/{session_id}/capture",
    summary="Capture the page",
    response_model=CaptureResult,
    openapi_extra=request_body(CaptureRequest),
    responses=STEP_PROBLEMS,
)
async def capture(
    request: Request,
    session_id: str,
    caller: Writer,
    body: Annotated[CaptureRequest, Depends(JsonBody(CaptureRequest))],
) -> Response:
    """A screenshot (PNG), a DOM snapshot or a PDF, as base64."""
    scope = services(request)
    step = Capture(kind=body.kind, full_page=bool(body.full_page), timeout_ms=DEFAULT_TIMEOUT_MS)
    done = await scope.steps.run(
        caller, session_id, DEFAULT_TIMEOUT_MS, lambda session: scope.agents.capture(session, step)
    )
    return answer(
        {
            "kind": body.kind,
            "data": done.data,
            "encoding": "base64",
            "byte_size": len(done.data),
            "duration_ms": done.duration_ms,
        }
    )


def preferred_wait(header: str | None) -> int | None:
    """Return the seconds of `Prefer: wait=N` (RFC 7240), at most LONGEST_WAIT; None without a usable one."""
    for preference in (header or "").split(","):
        match = _WAIT.fullmatch(preference)
        if match is not None:
            return min(int(match.group(1)), LONGEST_WAIT)
    return None


def _idempotency_key(header: str | None) -> str | None:
    if header is None or not header.strip():
        return None
    if not _KEY.fullmatch(header):
        raise invalid([Issue("Idempotency-Key", "1 to 255 printable ASCII characters")])
    return header
