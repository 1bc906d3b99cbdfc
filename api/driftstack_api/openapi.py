"""The published description of the API: what FastAPI derives, plus problems and the bodies that JsonBody reads."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from driftstack_api.problems import MEDIA_TYPE, TYPES

VERSION: Final = "1"
REF: Final = "#/components/schemas/{model}"

EXTENSIONS: Final[dict[str, dict[str, Any]]] = {
    "validation-failed": {"issues": [{"path": "label", "message": "String should have at most 120 characters"}]},
    "payload-too-large": {"limit_bytes": 1048576, "size_bytes": 2097152},
    "concurrency-limit": {"current_sessions": 2, "limit": 2},
    "session-timeout": {"timeout_ms": 30000},
}
_ALWAYS: Final = ("unauthorized", "invalid-key", "revoked-key", "expired-key", "forbidden", "internal")
_RETRY: Final = ("concurrency-limit", "feature-unavailable")

PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "Why a call did not succeed (RFC 9457); further members depend on the type.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "instance": {"type": "string", "description": "Id of the request, as in X-Request-Id."},
        "issues": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "message"],
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def problems(*slugs: str) -> dict[int | str, dict[str, Any]]:
    """Return `responses` for an authenticated operation: these problems, and those that any call can get."""
    return problem_response(*_ALWAYS, "feature-unavailable", *slugs)


def problem_response(*slugs: str) -> dict[int | str, dict[str, Any]]:
    """Return `responses` for exactly these problems."""
    by_status: dict[int, list[str]] = {}
    for slug in slugs:
        known = by_status.setdefault(TYPES[slug].status, [])
        if slug not in known:
            known.append(slug)
    return {status: _response(status, by_status[status]) for status in sorted(by_status)}


def install(app: FastAPI, base: str, bodies: Sequence[type[BaseModel]]) -> None:
    """Make the app publish the full description; bodies are the models read by JsonBody."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _schema(app, base, bodies)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign] # FastAPI's documented way to extend it


def _schema(app: FastAPI, base: str, bodies: Sequence[type[BaseModel]]) -> dict[str, Any]:
    schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    _, extra = models_json_schema([(model, "validation") for model in bodies], ref_template=REF)
    components.update(extra["$defs"])
    components["Problem"] = PROBLEM_SCHEMA
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    for path in schema["paths"].values():
        for operation in path.values():
            # FastAPI's own answer to wrong parameters; ours is 400.
            operation["responses"].pop("422", None)
            _add_examples(operation["responses"], base)
    return schema


def _response(status: int, slugs: list[str]) -> dict[str, Any]:
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {slug: {} for slug in slugs}}
    response: dict[str, Any] = {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: content}}
    if any(slug in _RETRY for slug in slugs):
        response["headers"] = {
            "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}
        }
    return response


def _add_examples(responses: dict[str, Any], base: str) -> None:
    for response in responses.values():
        content = response.get("content", {})
        for slug in content.get(MEDIA_TYPE, {}).get("examples", {}):
            content[MEDIA_TYPE]["examples"][slug] = {"value": _example(slug, base)}


def _example(slug: str, base: str) -> dict[str, Any]:
    return {
        "type": f"{base}{slug}",
        "title": TYPES[slug].title,
        "status": TYPES[slug].status,
        "detail": f"{TYPES[slug].title}.",
        "instance": "req_0f8fad5bd9cb469fa16570867728950e",
        **EXTENSIONS.get(slug, {}),
    }
