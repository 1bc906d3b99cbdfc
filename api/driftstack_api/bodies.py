"""Reading JSON bodies: bounded, strict, after authentication.

FastAPI would read and parse a body before any dependency runs, so that a stranger's body costs memory, and would
let through what the API server refuses (NaN, lone surrogates). Here the body is a dependency, listed after the
caller, and pydantic's own parser reads it.
"""

from __future__ import annotations

import asyncio
import json
from codecs import BOM_UTF8
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from driftstack_api.problems import Issue, Problem, dotted, invalid, said

BODY_LIMIT: Final = 1024 * 1024
"""Most bytes of a request body."""

BODY_SECONDS: Final = 20.0
"""How long a body may take to arrive."""

M = TypeVar("M", bound=BaseModel)


class JsonBody(Generic[M]):
    """A dependency that returns the body as this model; with `optional`, no body is an empty object."""

    def __init__(self, model: type[M], *, optional: bool = False) -> None:
        self._model = model
        self._optional = optional

    async def __call__(self, request: Request) -> M:
        """Read and validate.

        Raises:
            Problem: payload-too-large, bad-request (no JSON, or too slow: 408), validation-failed.
            ClientDisconnect: the caller hung up.
        """
        _check_coding(request)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                raw = await _read(request)
        except TimeoutError as error:
            raise _too_slow() from error
        if not raw and self._optional:
            raw = b"{}"
        try:
            body = self._model.model_validate_json(raw)
        except ValidationError as error:
            raise _problem(error, raw, getattr(self._model, "UNION", "")) from error
        _check_names(raw)
        return body


def request_body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Return what OpenAPI says about a body that JsonBody reads, as `openapi_extra`."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


async def _read(request: Request) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > BODY_LIMIT:
        raise _too_large(int(announced))
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_LIMIT:
            raise _too_large(size)
        chunks.append(chunk)
    return b"".join(chunks)


def _check_coding(request: Request) -> None:
    coding = request.headers.get("content-encoding", "identity")
    if coding.strip().lower() != "identity":
        raise Problem("bad-request", "Send the body as it is: there is no support for Content-Encoding.")


def _check_names(raw: bytes) -> None:
    """Refuse an object that has a name twice: readers differ in which value counts, and pydantic takes the last."""
    try:
        _DECODER.decode(raw.decode())
    except _TwiceError as error:
        raise Problem("bad-request", f"The body has the name {str(error)[:100]!r} twice in one object.") from error


class _TwiceError(ValueError):
    """A name that an object has twice."""


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise _TwiceError(name)
        seen.add(name)


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_distinct)


def _too_large(size: int) -> Problem:
    return Problem(
        "payload-too-large",
        f"A request body can have at most {BODY_LIMIT} bytes.",
        # What is left of the body will not be read.
        headers={"Connection": "close"},
        limit_bytes=BODY_LIMIT,
        size_bytes=size,
    )


def _too_slow() -> Problem:
    detail = f"The request's body did not arrive within {BODY_SECONDS:g} s."
    return Problem("bad-request", detail, status=408, headers={"Connection": "close"})


def _problem(error: ValidationError, raw: bytes, union: str) -> Problem:
    details = error.errors(include_url=False, include_input=False)
    if details[0]["type"] == "json_invalid":
        mark = " without a byte order mark" if raw.startswith(BOM_UTF8) else ""
        return Problem("bad-request", f"The body is not JSON in UTF-8{mark}. {details[0]['msg']}.")
    return invalid([Issue(_path(detail["loc"], detail["type"], union), said(detail)) for detail in details])


def _path(location: tuple[int | str, ...], kind: str, union: str) -> str:
    """Return the path of a field as its caller wrote it: pydantic puts a union's tag into it."""
    if location[:1] != (union,):
        return dotted(location)
    if kind.startswith("union_tag_"):
        return f"{union}.kind"
    return dotted((union, *location[2:]))
