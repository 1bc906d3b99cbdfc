"""The routes of `/v1/sessions`: read the request, call one service, answer."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response, Security

from driftstack_api.answers import answer
from driftstack_api.auth import READ_SESSIONS, WRITE_SESSIONS, Caller, Requires
from driftstack_api.bodies import JsonBody, request_body
from driftstack_api.devtools.links import linked
from driftstack_api.openapi import headers, links, problems
from driftstack_api.rate_limits.limits import BucketName
from driftstack_api.routes import Route
from driftstack_api.services import services
from driftstack_api.sessions.headers import CREATE_HEADERS, idempotency_key, preferred_wait
from driftstack_api.sessions.schemas import (
    DEFAULT_TIMEOUT_MS,
    CaptureRequest,
    CaptureResult,
    CreateSession,
    NavigateRequest,
    NavigateResult,
    PageQuery,
    SessionId,
    SessionObject,
    SessionPage,
)
from driftstack_common.protocol import Capture, Navigate

BODIES: Final = (CreateSession, NavigateRequest, CaptureRequest)
ANSWERS: Final = (SessionPage,)

router = APIRouter(prefix="/v1/sessions", tags=["sessions"], route_class=Route)

Reader = Annotated[Caller, Security(Requires(READ_SESSIONS))]
Writer = Annotated[Caller, Security(Requires(WRITE_SESSIONS))]
Creating = Annotated[Caller, Security(Requires(WRITE_SESSIONS, BucketName.SESSIONS_CREATE))]
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
    "/{session_id}",
    operation_id="get_session",
    summary="Read a session",
    response_model=SessionObject,
    responses=problems("not-found"),
)
async def read(request: Request, session_id: SessionId, caller: Reader) -> Response:
    """One session, also after its end for as long as history is kept."""
    return answer(linked(request, await services(request).sessions.get(caller, session_id)))


@router.post(
    "",
    status_code=201,
    summary="Create a session",
    operation_id="create_session",
    response_model=SessionObject,
    openapi_extra={**request_body(CreateSession, required=False), "parameters": CREATE_HEADERS},
    responses={
        201: {
            "description": "The session, `creating`; or as it is, when it was waited for or made before.",
            "headers": headers("Idempotent-Replayed", "Preference-Applied"),
            "links": links("session_id", "/id", "get_session", "navigate", "get_state", "delete_session"),
        },
        **problems(
            "bad-request",
            "validation-failed",
            "not-found",
            "conflict",
            "payload-too-large",
            "concurrency-limit",
        ),
    },
)
async def create(
    request: Request,
    caller: Creating,
    body: Annotated[CreateSession, Depends(JsonBody(CreateSession, optional=True))],
    key: Annotated[str | None, Depends(idempotency_key)],
    wait: Annotated[int | None, Depends(preferred_wait)],
) -> Response:
    """Start a browser. The session is `creating` until its browser answers."""
    scope = services(request)
    created = await scope.creator.create(caller, body, key)
    about = {"Idempotent-Replayed": "1"} if created.replayed else {}
    entry = created.entry
    if wait is not None:
        about["Preference-Applied"] = f"wait={wait}"
        entry = await scope.creator.wait_ready(entry, wait)
    return answer(linked(request, scope.sessions.show(entry, caller)), 201, about)


@router.get(
    "",
    operation_id="list_sessions",
    summary="List sessions",
    response_model=SessionPage,
    responses={
        200: {"links": links("cursor", "/next_cursor", "list_sessions")},
        **problems("validation-failed"),
    },
)
async def list_sessions(request: Request, caller: Reader, page: Annotated[PageQuery, Query()]) -> Response:
    """Sessions of the account, newest first, ended ones included."""
    found = await services(request).sessions.list_page(caller, page.limit, page.cursor)
    for shown in found["data"]:
        linked(request, shown)
    return answer(found)


@router.delete(
    "/{session_id}",
    operation_id="delete_session",
    status_code=204,
    summary="End a session",
    response_description="The session has ended, and its place under the account's cap is free.",
    responses=problems("not-found"),
)
async def destroy(request: Request, session_id: SessionId, caller: Writer) -> Response:
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
    session_id: SessionId,
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
    session_id: SessionId,
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
