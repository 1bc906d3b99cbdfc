"""The routes of the steps that act on a page and read it."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from driftstack_api.bodies import JsonBody, request_body
from driftstack_api.openapi import problems
from driftstack_api.problems import Problem
from driftstack_api.services import services
from driftstack_api.sessions.endpoints import STEP_PROBLEMS, Reader, Writer
from driftstack_api.sessions.schemas import DEFAULT_TIMEOUT_MS, SessionId
from driftstack_api.sessions.step_schemas import (
    ExtractRequest,
    ExtractResult,
    InteractRequest,
    InteractResult,
    StateResult,
    WaitRequest,
    WaitResult,
)
from driftstack_common.protocol_steps import Extract, Interact, State, Wait

BODIES: Final = (InteractRequest, WaitRequest, ExtractRequest)
ANSWERS: Final = (StateResult,)
STATE_TIMEOUT_MS: Final = 15_000
"""A read's clients wait less long than a step's."""

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])

T = TypeVar("T")
R = TypeVar("R", bound=BaseModel)


@router.post(
    "/{session_id}/interact",
    summary="Act on the page",
    openapi_extra=request_body(InteractRequest),
    responses=STEP_PROBLEMS,
)
async def interact(
    request: Request,
    session_id: SessionId,
    caller: Writer,
    body: Annotated[InteractRequest, Depends(JsonBody(InteractRequest))],
) -> InteractResult:
    """Taps, types, scrolls or presses a key as a person would. Waits until the element can be acted on."""
    scope, step = services(request), _step(body, Interact)
    done = await scope.steps.run(
        caller, session_id, step.timeout_ms, lambda session: scope.agents.interact(session, step)
    )
    return _result(InteractResult, ok=True, duration_ms=done.duration_ms, notices=done.notices)


@router.post(
    "/{session_id}/wait",
    summary="Wait for a condition",
    openapi_extra=request_body(WaitRequest),
    responses=STEP_PROBLEMS,
)
async def wait(
    request: Request,
    session_id: SessionId,
    caller: Writer,
    body: Annotated[WaitRequest, Depends(JsonBody(WaitRequest))],
) -> WaitResult:
    """Waits until the condition is met. One that isn't in time is a success with `satisfied` false."""
    scope, step = services(request), _step(body, Wait)
    done = await scope.steps.run(
        caller, session_id, step.timeout_ms, lambda session: scope.agents.wait(session, step)
    )
    return _result(WaitResult, satisfied=done.satisfied, duration_ms=done.duration_ms, notices=done.notices)


@router.post(
    "/{session_id}/extract",
    summary="Read values from the page",
    openapi_extra=request_body(ExtractRequest),
    responses=STEP_PROBLEMS,
)
async def extract(
    request: Request,
    session_id: SessionId,
    caller: Writer,
    body: Annotated[ExtractRequest, Depends(JsonBody(ExtractRequest))],
) -> ExtractResult:
    """Reads texts, attributes and lists, all at one moment."""
    scope, step = services(request), _step(body, Extract)
    done = await scope.steps.run(
        caller, session_id, step.timeout_ms, lambda session: scope.agents.extract(session, step)
    )
    return ExtractResult.model_construct(value=done.value)


@router.get(
    "/{session_id}/state",
    operation_id="get_state",
    summary="Read the page's state",
    responses=problems(
        "not-found", "conflict", "session-destroyed", "payload-too-large", "driver-error", "session-timeout"
    ),
)
async def state(request: Request, session_id: SessionId, caller: Reader) -> StateResult:
    """URL, title, cookies and local storage of the page. A step like the others: one runs at a time."""
    scope, step = services(request), State(timeout_ms=STATE_TIMEOUT_MS)
    done = await scope.steps.run(
        caller, session_id, step.timeout_ms, lambda session: scope.agents.state(session, step)
    )
    return _result(StateResult, **msgspec.structs.asdict(done))


@router.post("/{session_id}/search", include_in_schema=False)
@router.post("/{session_id}/login", include_in_schema=False)
async def not_yet(request: Request, session_id: str, caller: Writer) -> None:
    """Calls that the published client has and no deployment serves; what they send is not read."""
    await services(request).sessions.find(caller, session_id)
    raise Problem("feature-unavailable", "There is no search and no login by one call yet: use interact.")


def _step(body: BaseModel, kind: type[T]) -> T:
    """Return the agent's message for a checked body: the same fields, its default time."""
    return msgspec.convert({"timeout_ms": DEFAULT_TIMEOUT_MS, **body.model_dump(exclude_none=True)}, kind)


def _result(model: type[R], **fields: Any) -> R:
    """Return the answer; what an agent says is taken as it is."""
    return model.model_validate(msgspec.to_builtins(fields))
