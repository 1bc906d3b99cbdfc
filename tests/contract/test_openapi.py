"""The published description is the app's, is valid, and says what the contract says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from driftstack_api.main import create_app
from driftstack_api.openapi import EXTENSIONS
from driftstack_api.problems import MEDIA_TYPE, TYPES
from driftstack_api.settings import Settings
from tests.contract.crds import ROOT
from tests.integration.api.test_sessions import FIELDS as FIELDS_OF_A_SESSION

PUBLISHED: Final[dict[str, Any]] = json.loads((ROOT / "docs" / "reference" / "openapi.json").read_text())
BASE: Final = "https://errors.driftstack.dev/"
_REGISTRY: Final = Registry().with_resource("doc:", Resource(PUBLISHED, DRAFT202012))


def at(reference: str) -> Any:
    """Return what a `#/…` reference of the document names."""
    node = PUBLISHED
    for part in reference.removeprefix("#/").split("/"):
        node = node[part.replace("~1", "/")]
    return node


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node, or what it refers to."""
    return at(node["$ref"]) if "$ref" in node else node


def errors(value: Any, pointer: str) -> list[str]:
    """Return what is wrong with a value by the schema at a pointer of the document."""
    validator = Draft202012Validator({"$ref": f"doc:{pointer}"}, registry=_REGISTRY)
    return [f"{pointer}: {error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def operations() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Return path, method and description of each operation, by its id."""
    return {
        operation["operationId"]: (path, method, operation)
        for path, methods in PUBLISHED["paths"].items()
        for method, operation in methods.items()
    }


def responses(operation: str) -> dict[str, dict[str, Any]]:
    """Return the responses of an operation by status."""
    return {status: resolved(one) for status, one in operations()[operation][2]["responses"].items()}


def slugs(operation: str) -> set[str]:
    """Return the problems that an operation can answer, as `status slug`."""
    return {
        f"{status} {slug}"
        for status, response in responses(operation).items()
        for slug in response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {})
    }


def schema(path: str) -> dict[str, Any]:
    """Return the schema of a field, e.g. `CreateSession.label`, without the `null` it may be instead."""
    model, *fields = path.split(".")
    node: dict[str, Any] = PUBLISHED["components"]["schemas"][model]
    for field in fields:
        node = node["properties"][field]
        choices = [choice for choice in node.get("anyOf", []) if choice.get("type") != "null"]
        if len(choices) == 1:
            node = {**node, **choices[0]}
    return node


# --- the document -------------------------------------------------------------------------------------------------


def test_the_committed_document_is_the_apps() -> None:
    assert create_app(Settings()).openapi() == PUBLISHED, "run make generate"


def test_it_says_what_every_tool_asks_for() -> None:
    assert PUBLISHED["openapi"].startswith("3.1")
    assert PUBLISHED["info"]["description"]
    assert PUBLISHED["servers"][0] == {"url": "/", "description": "Where this document came from"}
    assert PUBLISHED["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    described = {tag["name"] for tag in PUBLISHED["tags"] if tag["description"]}
    for name, (path, _, operation) in operations().items():
        assert set(operation["tags"]) <= described, name
        assert operation["summary"], name
        assert operation["description"], name
        assert ("security" in operation) is path.startswith("/v1/"), name
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (name, parameter["name"])


def test_every_reference_leads_somewhere() -> None:
    known = set(operations())
    for pointer, node in nodes(PUBLISHED, "#"):
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            assert at(node["$ref"]) is not None, pointer
        if isinstance(node, dict) and "/links/" in pointer and "operationId" in node:
            assert node["operationId"] in known, pointer


def test_every_schema_is_one() -> None:
    for model in PUBLISHED["components"]["schemas"].values():
        Draft202012Validator.check_schema(model)


def test_every_answer_and_every_body_has_examples_and_every_example_is_valid() -> None:
    found = [error for pointer, value in examples() for error in errors(value, pointer)]
    assert not found, "\n".join(found)
    shown = {pointer for pointer, _ in examples()}
    for name, (_, _, operation) in operations().items():
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for body in [*bodies, *responses(name).values()]:
            for content in body.get("content", {}).values():
                model = content["schema"].get("$ref", "")
                assert "examples" in content or model in shown or _parts_are_shown(model, shown), (name, model)


def _parts_are_shown(model: str, shown: set[str]) -> bool:
    """Whether every field of a model has examples, or is of a model that has."""
    fields = at(model)["properties"]
    return all(
        f"{model}/properties/{name}" in shown
        or field.get("$ref") in shown
        or field.get("items", {}).get("$ref") in shown
        or field.get("type") == "boolean"
        for name, field in fields.items()
    )


def examples() -> Iterator[tuple[str, Any]]:
    """Yield each example with the pointer of its schema."""
    for pointer, node in nodes(PUBLISHED, "#"):
        if not isinstance(node, dict) or "/examples" in pointer:
            continue
        if isinstance(node.get("examples"), list) and "in" not in node:
            for value in node["examples"]:
                yield pointer, value
        if "schema" in node:
            yield from _of_content(node, f"{pointer}/schema")


def _of_content(node: dict[str, Any], pointer: str) -> Iterator[tuple[str, Any]]:
    if "example" in node:
        yield pointer, node["example"]
    named = node.get("examples", {})
    for value in named if isinstance(named, list) else [resolved(one)["value"] for one in named.values()]:
        yield pointer, value


def nodes(node: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    """Yield every node of the document with its pointer."""
    yield pointer, node
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield from nodes(child, f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}")


# --- the contract, written by hand --------------------------------------------------------------------------------

ANY: Final = {
    "401 unauthorized",
    "401 invalid-key",
    "401 revoked-key",
    "401 expired-key",
    "403 forbidden",
    "429 rate-limited",
    "500 internal",
    "503 feature-unavailable",
}
BODY: Final = {"400 bad-request", "408 bad-request", "400 validation-failed", "413 payload-too-large"}
STEP: Final = {
    "404 not-found",
    "409 conflict",
    "410 session-destroyed",
    "413 payload-too-large",
    "502 driver-error",
    "504 session-timeout",
}
ANSWERS: Final[dict[str, tuple[str, str, str, set[str]]]] = {
    "create_session": (
        "post",
        "/v1/sessions",
        "201",
        ANY | BODY | {"404 not-found", "409 conflict", "429 concurrency-limit"},
    ),
    "list_sessions": ("get", "/v1/sessions", "200", ANY | {"400 validation-failed"}),
    "get_session": ("get", "/v1/sessions/{session_id}", "200", ANY | {"404 not-found"}),
    "delete_session": ("delete", "/v1/sessions/{session_id}", "204", ANY | {"404 not-found"}),
    "navigate": ("post", "/v1/sessions/{session_id}/navigate", "200", ANY | BODY | STEP),
    "capture": ("post", "/v1/sessions/{session_id}/capture", "200", ANY | BODY | STEP),
    "interact": ("post", "/v1/sessions/{session_id}/interact", "200", ANY | BODY | STEP),
    "wait": ("post", "/v1/sessions/{session_id}/wait", "200", ANY | BODY | STEP),
    "extract": ("post", "/v1/sessions/{session_id}/extract", "200", ANY | BODY | STEP),
    "get_state": ("get", "/v1/sessions/{session_id}/state", "200", ANY | STEP),
    "connect": (
        "post",
        "/v1/sessions/{session_id}/connect",
        "200",
        ANY | {"404 not-found", "409 conflict", "410 session-destroyed"},
    ),
    "create_key": ("post", "/v1/api-keys", "201", ANY | BODY | {"409 conflict"}),
    "list_keys": ("get", "/v1/api-keys", "200", ANY),
    "revoke_key": ("delete", "/v1/api-keys/{key_id}", "204", ANY | {"404 not-found"}),
    "rotate_key": ("post", "/v1/api-keys/{key_id}/rotate", "201", ANY | {"404 not-found", "409 conflict"}),
    "create_webhook": ("post", "/v1/webhooks", "201", ANY | BODY | {"409 conflict"}),
    "list_webhooks": ("get", "/v1/webhooks", "200", ANY),
    "get_webhook": ("get", "/v1/webhooks/{webhook_id}", "200", ANY | {"404 not-found"}),
    "update_webhook": (
        "patch",
        "/v1/webhooks/{webhook_id}",
        "200",
        ANY | BODY | {"404 not-found", "409 conflict"},
    ),
    "delete_webhook": ("delete", "/v1/webhooks/{webhook_id}", "204", ANY | {"404 not-found"}),
    "test_webhook": ("post", "/v1/webhooks/{webhook_id}/test", "202", ANY | {"404 not-found", "409 conflict"}),
    "rotate_webhook_secret": (
        "post",
        "/v1/webhooks/{webhook_id}/rotate-secret",
        "200",
        ANY | {"404 not-found", "409 conflict"},
    ),
    "list_deliveries": (
        "get",
        "/v1/webhooks/{webhook_id}/deliveries",
        "200",
        ANY | {"400 validation-failed", "404 not-found"},
    ),
    "replay_delivery": (
        "post",
        "/v1/webhook-deliveries/{delivery_id}/replay",
        "200",
        ANY | {"404 not-found", "409 conflict"},
    ),
    "whoami": ("get", "/v1/whoami", "200", ANY),
    "me": ("get", "/v1/account/me", "200", ANY),
    "rate_limits": ("get", "/v1/account/rate-limits", "200", ANY),
    "usage": ("get", "/v1/usage", "200", ANY),
    "usage_series": ("get", "/v1/usage/series", "200", ANY | {"400 validation-failed"}),
    "healthz": ("get", "/healthz", "200", set()),
    "readyz": ("get", "/readyz", "200", {"503 feature-unavailable"}),
}


def test_there_are_these_operations_and_no_others() -> None:
    assert set(operations()) == set(ANSWERS)


@pytest.mark.parametrize("name", ANSWERS)
def test_what_each_operation_answers(name: str) -> None:
    method, path, success, refusals = ANSWERS[name]
    assert operations()[name][:2] == (path, method)
    assert [status for status in responses(name) if status < "400"] == [success]
    assert slugs(name) == refusals


@pytest.mark.parametrize("name", ANSWERS)
def test_the_headers_of_each_answer(name: str) -> None:
    for status, response in responses(name).items():
        headers = {header: resolved(one) for header, one in response["headers"].items()}
        expected = {"X-Request-Id"}
        expected |= {"Cache-Control"} if ANSWERS[name][1].startswith("/v1/") else set()
        expected |= {"Retry-After"} if status in ("429", "503") else set()
        expected |= {"WWW-Authenticate"} if status == "401" else set()
        assert {header for header, one in headers.items() if one.get("required")} == expected, status
        optional = (
            {"Idempotent-Replayed", "Preference-Applied"} if (name, status) == ("create_session", "201") else set()
        )
        if ANSWERS[name][1].startswith("/v1/") and status != "401":  # with 401 nobody knows whose call it is
            optional |= {f"X-RateLimit-{what}" for what in ("Limit", "Remaining", "Reset", "Bucket")}
        assert set(headers) - expected == optional, status


SLUGS: Final[dict[str, tuple[int, set[str]]]] = {
    "bad-request": (400, set()),
    "validation-failed": (400, {"issues"}),
    "unauthorized": (401, set()),
    "invalid-key": (401, set()),
    "revoked-key": (401, set()),
    "expired-key": (401, set()),
    "forbidden": (403, set()),
    "not-found": (404, set()),
    "conflict": (409, set()),
    "session-destroyed": (410, set()),
    "payload-too-large": (413, {"limit_bytes", "size_bytes"}),
    "rate-limited": (429, {"retry_after_seconds"}),
    "concurrency-limit": (429, {"current_sessions", "limit"}),
    "internal": (500, set()),
    "driver-error": (502, set()),
    "feature-unavailable": (503, set()),
    "session-timeout": (504, {"timeout_ms"}),
}


def test_the_problems_and_their_members() -> None:
    assert {slug: (kind.status, set(EXTENSIONS.get(slug, {}))) for slug, kind in TYPES.items()} == SLUGS
    for slug, (status, members) in SLUGS.items():
        example = PUBLISHED["components"]["examples"][slug]["value"]
        assert set(example) == {"type", "title", "status", "detail", "instance", *members}
        assert (example["type"], example["status"]) == (f"{BASE}{slug}", status)
        model = "".join(map(str.capitalize, slug.split("-"))) + "Problem"
        assert errors(example, f"#/components/schemas/{model}") == []
        assert members <= set(schema(model)["required"])
        for member in members:
            assert errors({**example, member: "x"}, f"#/components/schemas/{model}"), "a member has a type"


UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
EVENTS: Final = ["session.completed", "session.failed", "api_key.revoked", "session.profile_save_failed"]
BOUNDS: Final[dict[str, dict[str, Any]]] = {
    "CreateSession.archetype": {"type": "string", "pattern": "^[a-z0-9_]{3,60}$"},
    "CreateSession.purpose": {"const": "production_customer"},
    "CreateSession.label": {"type": "string", "maxLength": 120},
    "CreateSession.metadata": {"type": "object"},
    "CreateSession.profile_id": {"type": "string"},
    "CreateSession.behavioral_profile": {"enum": ["casual", "regular", "power_user"]},
    "NavigateRequest.url": {"type": "string", "minLength": 1, "maxLength": 8192},
    "NavigateRequest.wait_until": {"enum": ["load", "domcontentloaded", "networkidle"]},
    "NavigateRequest.timeout_ms": {"type": "integer", "minimum": 1000, "maximum": 120000},
    "CaptureRequest.kind": {"enum": ["screenshot", "dom_snapshot", "pdf"]},
    "CaptureRequest.full_page": {"type": "boolean"},
    "InteractRequest.timeout_ms": {"type": "integer", "minimum": 100, "maximum": 60000},
    "TapAction.selector": {"type": "string", "minLength": 1, "maxLength": 4096},
    "TypeAction.selector": {"type": "string", "minLength": 1, "maxLength": 4096},
    "TypeAction.text": {"type": "string", "maxLength": 10000},
    "TypeAction.delay_ms": {"type": "integer", "minimum": 0, "maximum": 500},
    "TypeAction.sensitive": {"type": "boolean"},
    "ScrollAction.selector": {"type": "string", "minLength": 1, "maxLength": 4096},
    "ScrollAction.delta_x": {"type": "integer", "minimum": -100000, "maximum": 100000},
    "ScrollAction.delta_y": {"type": "integer", "minimum": -100000, "maximum": 100000},
    "PressAction.key": {"type": "string", "minLength": 1, "maxLength": 20},
    "WaitRequest.timeout_ms": {"type": "integer", "minimum": 100, "maximum": 120000},
    "SelectorCondition.selector": {"type": "string", "minLength": 1, "maxLength": 4096},
    "SelectorHiddenCondition.selector": {"type": "string", "minLength": 1, "maxLength": 4096},
    "UrlMatchesCondition.pattern": {"type": "string", "minLength": 1, "maxLength": 2048},
    "TimeCondition.ms": {"type": "integer", "minimum": 0, "maximum": 60000},
    "ExtractRequest.extractions": {"type": "array", "minItems": 1, "maxItems": 100},
    "Extraction.name": {"type": "string", "minLength": 1, "maxLength": 200},
    "Extraction.selector": {"type": "string", "minLength": 1, "maxLength": 4096},
    "Extraction.type": {"enum": ["text", "attribute", "list"]},
    "Extraction.transform": {"const": "number"},
    "Extraction.extract": {"type": "object", "minProperties": 1, "maxProperties": 100},
    "ExtractField.type": {"enum": ["text", "attribute"]},
    "CreateKey.name": {"type": "string", "minLength": 1, "maxLength": 120},
    "CreateKey.scopes": {"type": "array", "minItems": 1, "maxItems": 19, "uniqueItems": True},
    "CreateKey.expires_at": {"type": "string", "format": "date-time"},
    "KeyObject.id": {"pattern": f"^key_{UUID}$"},
    "CreateWebhook.url": {"type": "string", "minLength": 1, "maxLength": 2048},
    "CreateWebhook.events": {"type": "array", "minItems": 1, "maxItems": 10, "uniqueItems": True},
    "CreateWebhook.description": {"type": "string", "maxLength": 200},
    "UpdateWebhook.url": {"type": "string", "minLength": 1, "maxLength": 2048},
    "UpdateWebhook.events": {"type": "array", "minItems": 1, "maxItems": 10, "uniqueItems": True},
    "UpdateWebhook.description": {"type": "string", "maxLength": 200},
    "UpdateWebhook.active": {"type": "boolean"},
    "WebhookObject.id": {"pattern": f"^whk_{UUID}$"},
    "NewWebhook.secret": {"pattern": "^whsec_[A-Z2-7]{32}$"},
    "NewSecret.secret": {"pattern": "^whsec_[A-Z2-7]{32}$"},
    "TestSent.event_type": {"const": "test.ping"},
    "TestSent.event_id": {"pattern": f"^{UUID}$"},
    "DeliveryObject.id": {"pattern": f"^wdl_{UUID}$"},
    "DeliveryObject.webhook_id": {"pattern": f"^whk_{UUID}$"},
    "DeliveryObject.event_id": {"pattern": f"^{UUID}$"},
    "DeliveryObject.status": {"enum": ["pending", "in_flight", "delivered", "failed", "dlq"]},
    "DeliveryObject.last_response_excerpt": {"type": "string", "maxLength": 4096},
    "DeliveryPage.next_cursor": {"type": "string", "maxLength": 512},
    "BucketObject.source": {"enum": ["tier", "override"]},
    "SessionObject.status": {"enum": ["creating", "ready", "busy", "destroyed", "errored"]},
    "SessionPage.next_cursor": {"type": "string", "maxLength": 512},
    "CaptureResult.encoding": {"const": "base64"},
    "UsageTotals.session_minute": {"type": "integer", "minimum": 0},
    "UsageQuotas.session_minute": {"type": "integer", "minimum": 0},
    "UsageSeries.from_date": {"type": "string", "format": "date"},
    "Whoami.account_id": {"pattern": f"^acc_{UUID}$"},
}


@pytest.mark.parametrize("path", BOUNDS)
def test_bounds(path: str) -> None:
    field = schema(path)
    assert {name: field.get(name) for name in BOUNDS[path]} == BOUNDS[path]


FIELDS: Final[dict[str, tuple[set[str], set[str]]]] = {
    "CreateSession": (set(), {"archetype", "purpose", "label", "metadata", "profile_id", "behavioral_profile"}),
    "NavigateRequest": ({"url"}, {"wait_until", "timeout_ms"}),
    "CaptureRequest": ({"kind"}, {"full_page"}),
    "InteractRequest": ({"action"}, {"timeout_ms"}),
    "TapAction": ({"kind", "selector"}, set()),
    "TypeAction": ({"kind", "selector", "text"}, {"delay_ms", "sensitive"}),
    "ScrollAction": ({"kind"}, {"selector", "delta_x", "delta_y"}),
    "PressAction": ({"kind", "key"}, set()),
    "WaitRequest": ({"condition"}, {"timeout_ms"}),
    "ExtractRequest": ({"extractions"}, set()),
    "CreateKey": ({"name", "scopes"}, {"expires_at"}),
    "CreateWebhook": ({"url", "events"}, {"description"}),
    "UpdateWebhook": (set(), {"url", "events", "description", "active"}),
    "Extraction": ({"name", "selector", "type"}, {"attribute", "transform", "extract"}),
}


@pytest.mark.parametrize("model", FIELDS)
def test_requests_have_these_fields_and_no_others(model: str) -> None:
    required, optional = FIELDS[model]
    found = schema(model)
    assert set(found.get("required", [])) == required
    assert set(found["properties"]) == required | optional
    assert found["additionalProperties"] is False


KEY: Final = {
    "id",
    "name",
    "key_prefix",
    "scopes",
    "last_used_at",
    "revoked_at",
    "expires_at",
    "created_at",
}
WEBHOOK: Final = {
    "id",
    "url",
    "secret_prefix",
    "prev_secret_prefix",
    "rotation_grace_expires_at",
    "events",
    "description",
    "active",
    "consecutive_failures",
    "last_success_at",
    "last_failure_at",
    "disabled_at",
    "delivery_counts",
    "created_at",
}
ALWAYS: Final[dict[str, set[str]]] = {
    "SessionObject": FIELDS_OF_A_SESSION,
    "SessionPage": {"data", "has_more", "next_cursor"},
    "NavigateResult": {"url", "status", "final_url", "duration_ms", "notices"},
    "CaptureResult": {"kind", "data", "encoding", "byte_size", "duration_ms"},
    "InteractResult": {"ok", "duration_ms", "notices"},
    "WaitResult": {"satisfied", "duration_ms", "notices"},
    "ExtractResult": {"value"},
    "StateResult": {"url", "title", "cookies", "local_storage", "page_state", "captured_at"},
    "KeyObject": KEY,
    "NewKey": KEY | {"plaintext"},
    "KeyList": {"data"},
    "WebhookObject": WEBHOOK,
    "NewWebhook": WEBHOOK | {"secret"},
    "WebhookList": {"data"},
    "DeliveryCounts": {"delivered", "failed", "dlq"},
    "NewSecret": {"id", "secret", "secret_prefix", "prev_secret_prefix", "grace_expires_at"},
    "TestSent": {"delivery_id", "event_id", "event_type"},
    "DeliveryObject": {
        "id",
        "webhook_id",
        "event_id",
        "event_type",
        "status",
        "attempts",
        "next_attempt_at",
        "last_response_status",
        "last_response_excerpt",
        "last_error",
        "delivered_at",
        "created_at",
    },
    "DeliveryPage": {"data", "has_more", "next_cursor"},
    "Whoami": {"account_id", "api_key_id", "tier", "scopes"},
    "AccountObject": {
        "account_id",
        "tier",
        "concurrent_session_cap",
        "concurrent_session_active",
        "profile_cap",
        "profile_count",
        "default_archetype",
        "suspended",
    },
    "BucketObject": {"bucket_key", "capacity", "refill_per_second", "source", "override_expires_at"},
    "RateLimitsObject": {"tier", "buckets"},
}


def test_the_events_there_are() -> None:
    for model in ("CreateWebhook", "UpdateWebhook", "WebhookObject"):
        assert schema(f"{model}.events")["items"]["enum"] == EVENTS
    (subscribable, ping) = schema("DeliveryObject.event_type")["anyOf"]
    assert [*subscribable["enum"], ping["const"]] == [*EVENTS, "test.ping"]


@pytest.mark.parametrize("model", ALWAYS)
def test_answers_always_have_these_fields(model: str) -> None:
    assert set(schema(model)["required"]) == set(schema(model)["properties"]) == ALWAYS[model]


def test_the_parameters_of_calls() -> None:
    def parameters(name: str) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in operations()[name][2].get("parameters", [])}

    page = parameters("list_sessions")
    assert set(page) == {"limit", "cursor"}
    limit = page["limit"]["schema"]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 100, 50)
    cursor = page["cursor"]["schema"]["anyOf"][0]
    assert (cursor["minLength"], cursor["maxLength"]) == (1, 512)
    deliveries = parameters("list_deliveries")
    assert set(deliveries) == {"webhook_id", "limit", "cursor", "status"}
    assert deliveries["status"]["schema"]["anyOf"][0]["enum"] == schema("DeliveryObject.status")["enum"]
    create = parameters("create_session")
    assert set(create) == {"Idempotency-Key", "Prefer"}
    key = create["Idempotency-Key"]["schema"]
    assert (key["minLength"], key["maxLength"]) == (1, 255)
    assert not any(one.get("required") for one in (*page.values(), *create.values()))
    assert operations()["create_session"][2]["requestBody"]["required"] is False
