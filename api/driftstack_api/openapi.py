"""The published description of the API: what FastAPI derives, plus problems, headers and the bodies JsonBody reads.

Every problem is a schema and an example of its own, so that an operation's answers name just those it can give.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from driftstack_api.problems import MEDIA_TYPE, MOST_ISSUES, TYPES

VERSION: Final = "1"
REF: Final = "#/components/schemas/{model}"
LICENSE: Final = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
DESCRIPTION: Final = """\
Real Chromium in a pod of its own, as a session that you create, drive and end.

Create a session, wait for `ready` (or send `Prefer: wait=10`), `navigate`, act, read and capture, and delete it.
Every call under `/v1` needs `Authorization: Bearer ds_live_…`. Bodies are JSON in UTF-8, at most 1 MiB, and read
strictly: nothing is converted, unknown and repeated fields are refused, and `null` means that a field is left out.

Whatever is not a success is `application/problem+json` (RFC 9457); `type` tells the cases apart. `X-Request-Id` is
on every answer, is `instance` of a problem, and finds the call in the logs. A method that a path does not have is
405 `bad-request` with `Allow`, an unknown path 404 `not-found`.
"""
TAGS: Final = (
    {
        "name": "sessions",
        "description": "Browser sessions: their life, and the steps that drive and read the page.",
    },
    {"name": "api-keys", "description": "Keys of the account: made, listed, revoked and rotated."},
    {
        "name": "webhooks",
        "description": "Endpoints that are told of events, and the deliveries to them. Reading needs "
        "`read:webhooks`, all else `account_owner`.",
    },
    {"name": "account", "description": "Whose key this is, and what it may do."},
    {"name": "health", "description": "Probes; no key needed."},
)
SERVERS: Final = (
    {"url": "/", "description": "Where this document came from"},
    {"url": "http://10.254.254.2:30080", "description": "The local cluster of `make up`"},
)

ModelMode = tuple[type[BaseModel], JsonSchemaMode]

_ALWAYS: Final = (
    "unauthorized",
    "invalid-key",
    "revoked-key",
    "expired-key",
    "forbidden",
    "rate-limited",
    "internal",
    "feature-unavailable",
)
_ISSUE: Final = {
    "type": "object",
    "required": ["path", "message"],
    "properties": {
        "path": {
            "type": "string",
            "description": "The field, dotted (`action.selector`), or the header; empty for the whole body.",
        },
        "message": {"type": "string", "description": "What it should be."},
    },
}
_BYTES: Final = {"type": ["integer", "null"], "minimum": 0, "description": "Null where it is not known."}
EXTENSIONS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "validation-failed": {
        "issues": {
            "type": "array",
            "items": _ISSUE,
            "minItems": 1,
            "maxItems": MOST_ISSUES,
            "description": "Every field that is wrong.",
            "examples": [[{"path": "label", "message": "String should have at most 120 characters"}]],
        }
    },
    "payload-too-large": {
        "limit_bytes": {**_BYTES, "examples": [1048576]},
        "size_bytes": {**_BYTES, "examples": [2097152]},
    },
    "rate-limited": {
        "retry_after_seconds": {
            "type": "integer",
            "minimum": 1,
            "description": "Until the next call is let in.",
            "examples": [3],
        }
    },
    "concurrency-limit": {
        "current_sessions": {"type": "integer", "minimum": 0, "description": "Live sessions.", "examples": [2]},
        "limit": {"type": "integer", "minimum": 0, "description": "The account's cap.", "examples": [2]},
    },
    "session-timeout": {
        "timeout_ms": {"type": "integer", "minimum": 0, "description": "The step's own.", "examples": [30000]}
    },
}
"""Members beyond those that every problem has, by slug; all of them are always there."""

PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "Why a call did not succeed (RFC 9457); `type` says which further members there are.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What is wrong and what to do, for people."},
        "instance": {"type": "string", "description": "Id of the request, as in X-Request-Id."},
    },
}
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-Id": {
        "description": "Id of the request: yours, if you sent one of up to 128 letters, digits, `.`, `_` and `-`.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "Cache-Control": {"required": True, "schema": {"const": "no-store, private"}},
    "Retry-After": {
        "description": "Seconds after which to try again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-RateLimit-Limit": {
        "description": "Calls in the full bucket; on every answer to a call with a valid key.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "X-RateLimit-Remaining": {"description": "Calls that are left.", "schema": {"type": "integer", "minimum": 0}},
    "X-RateLimit-Reset": {
        "description": "When the bucket will be full, in seconds since 1970.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-RateLimit-Bucket": {
        "description": "The bucket that the call was taken from.",
        "schema": {"enum": ["global", "sessions:create"]},
    },
    "WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}},
    "Idempotent-Replayed": {
        "description": "There when an earlier create with this Idempotency-Key has made the session.",
        "schema": {"const": "1"},
    },
    "Preference-Applied": {
        "description": "There when `Prefer: wait=N` was heeded.",
        "schema": {"type": "string", "pattern": "^wait=[0-9]+$"},
    },
}
RATE_LIMIT_HEADERS: Final = tuple(name for name in _HEADERS if name.startswith("X-RateLimit-"))
_OF_STATUS: Final = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}


def problems(*slugs: str) -> dict[int | str, dict[str, Any]]:
    """Return `responses` for an authenticated operation: these problems, and those that any call can get."""
    found = problem_response(*_ALWAYS, *slugs)
    if "bad-request" in slugs:  # it reads a body, which may never come
        found[408] = _response(408, ["bad-request"])
    return found


def problem_response(*slugs: str) -> dict[int | str, dict[str, Any]]:
    """Return `responses` for exactly these problems."""
    by_status: dict[int, list[str]] = {}
    for slug in dict.fromkeys(slugs):
        by_status.setdefault(TYPES[slug].status, []).append(slug)
    return {status: _response(status, by_status[status]) for status in sorted(by_status)}


def headers(*names: str) -> dict[str, dict[str, str]]:
    """Return `headers` of a response, by names of those described here."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def links(parameter: str, pointer: str, *operations: str) -> dict[str, dict[str, Any]]:
    """Return `links` of a response: operations that take what its body has there as this parameter."""
    return {
        name: {"operationId": name, "parameters": {parameter: f"$response.body#{pointer}"}} for name in operations
    }


def install(app: FastAPI, base: str, bodies: Sequence[type[BaseModel]], answers: Sequence[type[BaseModel]]) -> None:
    """Make the app publish the full description.

    Args:
        bodies: the models read by JsonBody, of which FastAPI knows nothing.
        answers: the models whose examples have nulls, which FastAPI drops.
    """

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _schema(
                app, base, [*_modes(bodies, "validation"), *_modes(answers, "serialization")]
            )
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign] # FastAPI's documented way to extend it


def _schema(app: FastAPI, base: str, models: list[ModelMode]) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=DESCRIPTION,
        license_info=LICENSE,
        tags=[*TAGS],
        servers=[*SERVERS],
        routes=app.routes,
    )
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    _, extra = models_json_schema(models, ref_template=REF)
    schemas.update(extra["$defs"])
    schemas["Problem"] = PROBLEM_SCHEMA
    schemas.update({_name(slug): _problem_schema(slug, base) for slug in TYPES})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    components["examples"] = {slug: {"value": _example(slug, base)} for slug in TYPES}
    components["headers"] = _HEADERS
    shared: dict[str, Any] = {}
    components["responses"] = shared
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            _complete(operation["responses"], shared, versioned=path.startswith("/v1/"))
    return schema


def _modes(models: Sequence[type[BaseModel]], mode: JsonSchemaMode) -> list[ModelMode]:
    return [(model, mode) for model in models]


def _complete(responses: dict[str, Any], shared: dict[str, Any], *, versioned: bool) -> None:
    """Add what all answers have, take away what none has, and keep once what many operations answer."""
    responses.pop("422", None)  # FastAPI's own answer to wrong parameters; ours is 400
    everywhere = headers("X-Request-Id", *(["Cache-Control"] if versioned else []))
    for status, response in responses.items():
        counted = headers(*RATE_LIMIT_HEADERS) if versioned and status != "401" else {}
        response["headers"] = {**everywhere, **counted, **response.get("headers", {})}
        problem = response.get("content", {}).get(MEDIA_TYPE)
        if problem and versioned:
            name = ".".join([status, *problem["examples"]])
            shared[name] = response
            responses[status] = {"$ref": f"#/components/responses/{name}"}


def _response(status: int, slugs: list[str]) -> dict[str, Any]:
    refs = [{"$ref": REF.format(model=_name(slug))} for slug in slugs]
    return {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{slug}`' for slug in slugs)}",
        "headers": headers(*_OF_STATUS.get(status, [])),
        "content": {
            MEDIA_TYPE: {
                "schema": refs[0] if len(refs) == 1 else {"oneOf": refs},
                "examples": {slug: {"$ref": f"#/components/examples/{slug}"} for slug in slugs},
            }
        },
    }


def _name(slug: str) -> str:
    return "".join(word.capitalize() for word in slug.split("-")) + "Problem"


def _problem_schema(slug: str, base: str) -> dict[str, Any]:
    kind, extensions = TYPES[slug], EXTENSIONS.get(slug, {})
    return {
        "title": kind.title,
        "description": kind.meaning,
        "allOf": [{"$ref": REF.format(model="Problem")}],
        "required": ["type", *extensions],
        "properties": {
            "type": {"const": f"{base}{slug}"},
            "title": {"const": kind.title},
            "status": {"enum": [kind.status, *kind.also]},
            **extensions,
        },
    }


def _example(slug: str, base: str) -> dict[str, Any]:
    return {
        "type": f"{base}{slug}",
        "title": TYPES[slug].title,
        "status": TYPES[slug].status,
        "detail": TYPES[slug].example,
        "instance": "req_0f8fad5bd9cb469fa16570867728950e",
        **{name: extension["examples"][0] for name, extension in EXTENSIONS.get(slug, {}).items()},
    }
