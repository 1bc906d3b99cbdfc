"""The published description is true: calls generated from it, right and wrong, get only what it declares.

The same calls each time, for about a minute; `FUZZ=<examples per operation>` makes other and more ones each time.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any, Final
from unittest.mock import patch

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import use_after_free

from driftstack_api.keys.schemas import check_expiry
from driftstack_api.sessions.schemas import check_metadata, check_url
from driftstack_api.webhooks import service as webhooks
from driftstack_common.webhooks.targets import Rules, TargetRefused, parse_target
from tests.contract.crds import ROOT
from tests.integration.api.test_client import served
from tests.integration.api.world import application, surroundings

FUZZ: Final = int(os.environ.get("FUZZ", "0"))
SETTINGS: Final = settings(
    max_examples=FUZZ or 15,
    stateful_step_count=6,
    deadline=None,
    derandomize=not FUZZ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
AFTER_THE_END: Final = (
    "get_session",
    "delete_session",
    "revoke_key",
    "get_webhook",
    "delete_webhook",
    "list_deliveries",
)
WEBHOOK_URL: Final = "https://hooks.example.com/"
DOCUMENT: Final = json.loads((ROOT / "docs" / "reference" / "openapi.json").read_text())
schema = schemathesis.openapi.from_dict(DOCUMENT)
# An ended session is 410, by contract.
schema.config.checks.positive_data_acceptance.expected_statuses += ["410"]


class Served:
    """The facade in a thread of its own, since schemathesis calls synchronously."""

    def __init__(self) -> None:
        self.url = ""
        self.session_id = ""
        self.key_id = ""
        self.webhook_id = ""
        self.delivery_id = ""
        self.client = requests.Session()
        self._key = ""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Start, and wait until it answers and has a session and a webhook endpoint."""
        self._thread.start()
        assert self._started.wait(10)
        answer = httpx2.post(f"{self.url}/v1/sessions", headers=self.headers)
        assert answer.status_code == 201
        self.session_id = answer.json()["id"]
        body = {"url": WEBHOOK_URL, "events": ["session.failed"]}
        answer = httpx2.post(f"{self.url}/v1/webhooks", headers=self.headers, json=body)
        self.webhook_id = answer.json()["id"]
        answer = httpx2.post(f"{self.url}/v1/webhooks/{self.webhook_id}/test", headers=self.headers)
        self.delivery_id = answer.json()["delivery_id"]

    def stop(self) -> None:
        """Stop, and wait until all is closed."""
        self.client.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def headers(self) -> dict[str, str]:
        """The header that every call needs."""
        return {"Authorization": f"Bearer {self._key}"}

    @property
    def how(self) -> dict[str, Any]:
        """How schemathesis calls it."""
        return {"base_url": self.url, "headers": self.headers, "session": self.client}

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            world = await stack.enter_async_context(surroundings())
            stack.enter_context(patch.object(webhooks, "MOST_ENDPOINTS", 1_000_000))
            many = {"capacity": 1_000_000, "refillPerMinute": 60_000_000}
            limits = {"rateLimits": {"global": many, "sessionsCreate": many}}
            world.add_account("acme", limit=100_000, overrides=limits)
            world.add_key("acme", "other", ["read"])
            self.key_id = f"key_{world.kube.objects['apikeys', 'acct-acme', 'other']['metadata']['uid']}"
            self._key = world.keys["acme"].plaintext
            # On a slow machine too: what copies answer that are out of date has tests of its own.
            app = await stack.enter_async_context(application(world, fresh_seconds=3600))
            self.url = await stack.enter_async_context(served(app))
            self._started.set()
            await self._stop.wait()


@pytest.fixture(scope="module")
def facade() -> Iterator[Served]:
    running = Served()
    running.start()
    yield running
    running.stop()


@pytest.mark.timeout(180 + 30 * FUZZ)
@schema.parametrize()
@SETTINGS
def test_generated_calls(case: schemathesis.Case[Any], facade: Served) -> None:
    fit(case)
    if valid(case) and "session_id" in case.path_parameters and _name(case) != "delete_session":
        case.path_parameters["session_id"] = facade.session_id
    if valid(case) and _name(case) == "rotate_key":
        case.path_parameters["key_id"] = facade.key_id
    if valid(case) and "webhook_id" in case.path_parameters and _name(case) != "delete_webhook":
        case.path_parameters["webhook_id"] = facade.webhook_id
    if valid(case) and "delivery_id" in case.path_parameters:
        case.path_parameters["delivery_id"] = facade.delivery_id
    case.call_and_validate(**facade.how)


@pytest.mark.timeout(180 + 30 * FUZZ)
def test_calls_that_follow_each_other(facade: Served) -> None:
    class Life(schema.as_state_machine()):  # type: ignore[misc] # made at run time
        """Sessions from their create to after their end, along the links of the description."""

        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, Any]:
            return facade.how

        def before_call(self, case: schemathesis.Case[Any]) -> None:
            fit(case)

        def validate_response(self, response: Any, case: schemathesis.Case[Any], **_: Any) -> None:
            # What has ended can be read and ended again, by contract.
            again = _name(case) in AFTER_THE_END
            case.validate_response(response, excluded_checks=[use_after_free] if again else [])

    Life.run(settings=SETTINGS)


def fit(case: schemathesis.Case[Any]) -> None:
    """Make a right call right in what a schema can't say: archetypes and cursors there are, hosts of URLs, …."""
    if not valid(case):
        return
    if _name(case) in ("list_sessions", "list_deliveries"):
        case.query.pop("cursor", None)
    if isinstance(case.body, dict):
        (_fit_webhook if _name(case) in ("create_webhook", "update_webhook") else _fit_body)(case.body)


def _fit_body(body: dict[str, Any]) -> None:
    for field, check, right in (
        ("url", check_url, "http://a.test/"),
        ("metadata", check_metadata, {}),
        ("expires_at", check_expiry, "2099-12-31T23:59:59Z"),
    ):
        if body.get(field) is not None:
            try:
                check(body[field])
            except ValueError:
                body[field] = right
    if body.get("archetype") is not None:
        body["archetype"] = "default"
    if "extractions" in body:
        for number, extraction in enumerate(body["extractions"]):
            _fit_extraction(extraction, number)


def _fit_webhook(body: dict[str, Any]) -> None:
    """A URL is one that is allowed, and null in all fields but `description` is none of them."""
    if body.get("url") is not None:
        try:
            parse_target(body["url"], Rules())
        except TargetRefused:
            body["url"] = WEBHOOK_URL
    if "description" not in body and all(value is None for value in body.values()):
        body["active"] = True


def _fit_extraction(extraction: dict[str, Any], number: int) -> None:
    """Names differ, lists alone have fields, and the type attribute has a name of one."""
    extraction["name"] = f"{number}"
    if extraction["type"] != "list":
        extraction.pop("extract", None)
    for one in (extraction, *(extraction.get("extract") or {}).values()):
        if one["type"] == "attribute" and one.get("attribute") is None:
            one["attribute"] = "href"


def valid(case: schemathesis.Case[Any]) -> bool:
    """Whether a call was generated to be right."""
    return case.meta is None or case.meta.generation.mode.is_positive


def _name(case: schemathesis.Case[Any]) -> str:
    return str(case.operation.definition.raw["operationId"])
