"""The published client, unmodified, on a real cluster: every sessions call it has, its class for each problem."""

from __future__ import annotations

import asyncio
import base64
import inspect
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pykube
import pytest
from driftstack import AsyncDriftstack, Driftstack, errors
from driftstack._generated.models import CreateSessionRequest, InteractRequest, NavigateRequest
from driftstack.resources.sessions import SessionsResource
from driftstack.retry import RetryConfig

from driftstack_common import api_keys
from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import VERSION, ApiKey, BrowserSession, eventually

CALLS = {
    "create", "list", "iterate", "get", "navigate", "interact", "wait", "get_state", "capture", "extract", "search",
    "login", "destroy",
}  # fmt: skip


@pytest.fixture
def client(installation: Installation, account: Tenant) -> Any:
    with Driftstack(account.key, base_url=installation.url) as client:
        yield client


async def told(answer: Any) -> Any:
    """Return what a call of either client returns."""
    return await answer if inspect.isawaitable(answer) else answer


async def ids(pages: Any) -> list[str]:
    """Return the ids that either client's iterator gives."""
    return [each.id async for each in pages] if hasattr(pages, "__aiter__") else [each.id for each in pages]


def test_these_are_all_its_calls() -> None:
    assert {name for name in vars(SessionsResource) if not name.startswith("_")} == CALLS


async def test_every_call_of_the_asynchronous_client(installation: Installation, account: Tenant) -> None:
    async with AsyncDriftstack(account.key, base_url=installation.url) as client:
        await make_every_call(client.sessions, installation.page)


def test_every_call_of_the_synchronous_client(installation: Installation, client: Driftstack) -> None:
    asyncio.run(make_every_call(client.sessions, installation.page))


async def make_every_call(sessions: Any, page: str) -> None:
    """Go through a session's life."""
    asked = CreateSessionRequest(label="client", metadata={"n": 1}, behavioral_profile="power_user")
    created = await told(sessions.create(asked))
    assert (created.status, created.label, created.metadata) == ("creating", "client", {"n": 1})
    session = created.id
    moved = await told(sessions.navigate(session, NavigateRequest(url=page, wait_until="networkidle")))
    assert (moved.status, str(moved.final_url)) == (200, page)
    await act(sessions, session)
    for kind, magic in (("screenshot", b"\x89PNG"), ("pdf", b"%PDF-"), ("dom_snapshot", b"{")):
        captured = await told(sessions.capture(session, {"kind": kind}))
        data = base64.b64decode(captured.data)
        assert data.startswith(magic)
        assert captured.byte_size == len(data)
    plain = (await told(sessions.create())).id
    assert [each.id for each in (await told(sessions.list())).data] == [plain, session]
    first = await told(sessions.list({"limit": 1}))
    assert (first.data[0].id, first.has_more) == (plain, True)
    assert (await told(sessions.list({"limit": 1, "cursor": first.next_cursor}))).data[0].id == session
    assert await ids(sessions.iterate(limit=1)) == [plain, session]
    for each in (plain, session, session):
        await told(sessions.destroy(each))
    ended = await told(sessions.get(session))
    assert (ended.status, ended.destroyed_at is None) == ("destroyed", False)


async def act(sessions: Any, session: str) -> None:
    """Fill in the form, and read what came of it."""
    for action in (
        {"kind": "scroll", "delta_y": 50},
        {"kind": "type", "selector": "#harbour", "text": "Secret cove", "sensitive": True},
        {"kind": "press", "key": "Escape"},
        {"kind": "tap", "selector": "#send"},
    ):
        request = InteractRequest.model_validate({"action": action, "timeout_ms": 10_000})
        assert (await told(sessions.interact(session, request))).ok
    shown = {"condition": {"kind": "selector", "selector": "#received"}}
    assert (await told(sessions.wait(session, shown))).satisfied
    late = {"condition": {"kind": "url_matches", "pattern": "never"}, "timeout_ms": 100}
    assert not (await told(sessions.wait(session, late))).satisfied
    extraction = {"name": "row", "selector": "#received li", "type": "text"}
    extracted = await told(sessions.extract(session, {"extractions": [extraction]}))
    assert extracted.value == {"row": "harbour: Secret cove"}
    state = await told(sessions.get_state(session))
    assert (state.title, str(state.url).endswith("/form")) == ("Received", True)


def test_problems_of_steps(installation: Installation, client: Driftstack) -> None:
    sessions, session = client.sessions, client.sessions.create().id
    with pytest.raises(errors.DriverError) as failed:
        sessions.navigate(session, {"url": "http://nowhere.driftstack.test/"})
    assert failed.value.status == 502
    with pytest.raises(errors.SessionTimeoutError) as late:
        sessions.navigate(session, {"url": f"{installation.page}slow?ms=5000", "timeout_ms": 1000})
    assert late.value.timeout_ms == 1000
    with pytest.raises(errors.SessionTimeoutError, match="missing"):
        sessions.interact(session, {"action": {"kind": "tap", "selector": "#none"}, "timeout_ms": 1000})
    with pytest.raises(errors.ValidationError) as wrong:
        sessions.interact(session, {"action": {"kind": "tap", "selector": "##"}})
    assert [issue["path"] for issue in wrong.value.problem["issues"]] == ["action.selector"]
    sessions.navigate(session, {"url": f"{installation.page}big?n=5000"})
    much = [{"name": str(n), "selector": "body", "type": "text"} for n in range(100)]
    with pytest.raises(errors.PayloadTooLargeError) as large:
        sessions.extract(session, {"extractions": much})
    assert large.value.problem["limit_bytes"] < large.value.problem["size_bytes"]
    for call in (sessions.search, sessions.login):
        with pytest.raises(errors.FeatureUnavailableError, match="yet"):
            call(session, {})
    assert sessions.get(session).status == "ready", "none of this ended it"
    waiting = threading.Thread(
        target=sessions.wait, args=(session, {"condition": {"kind": "time", "ms": 3000}}), daemon=True
    )
    waiting.start()
    eventually(lambda: sessions.get(session).status == "busy", 5, "the step runs")
    with pytest.raises(errors.ConflictError):
        sessions.get_state(session)
    waiting.join()
    sessions.destroy(session)
    for call in (sessions.get_state, lambda each: sessions.navigate(each, {"url": installation.page})):
        with pytest.raises(errors.SessionDestroyedError):
            call(session)


def test_problems_of_calls(account_of: Callable[..., Tenant], installation: Installation) -> None:
    account = account_of(tier="free")  # one session
    with Driftstack(account.key, base_url=installation.url) as client:
        with pytest.raises(errors.ValidationError) as wrong:
            client.sessions.create({"label": "x" * 121, "archetype": "NO"})
        assert [issue["path"] for issue in wrong.value.problem["issues"]] == ["archetype", "label"]
        with pytest.raises(errors.ValidationError, match="cursor"):
            client.sessions.list({"cursor": "made up"})
        with pytest.raises(errors.NotFoundError):
            client.sessions.create({"profile_id": f"prof_{uuid4()}"})
        for call in (client.sessions.get, client.sessions.destroy, client.sessions.get_state):
            with pytest.raises(errors.NotFoundError):
                call(f"ses_{uuid4()}")
        client.sessions.create()
        with pytest.raises(errors.ConcurrencyLimitError) as full:
            client.sessions.create()
        assert (full.value.current_sessions, full.value.limit) == (1, 1)
    nobody = Driftstack(account.key, base_url="http://127.0.0.1:9", retry=RetryConfig(max_retries=1))
    with nobody, pytest.raises(errors.TransportError):
        nobody.sessions.list()


def test_problems_of_keys(installation: Installation, account: Tenant, kube: pykube.HTTPClient) -> None:
    reader = make_key(kube, account, "reader", scopes=["read:sessions"])
    expired = make_key(kube, account, "expired", expiresAt="2020-01-01T00:00:00Z")
    revoked = make_key(kube, account, "revoked", revoked=True)
    with Driftstack(reader, base_url=installation.url) as client:
        eventually(lambda: works(client), 10, "the new key")
        with pytest.raises(errors.ForbiddenError, match="write:sessions"):
            client.sessions.create()
    for key, expected in (
        (expired, errors.ExpiredKeyError),
        (revoked, errors.RevokedKeyError),
        (api_keys.mint().plaintext, errors.InvalidKeyError),
        ("no key at all", errors.AuthError),
    ):
        with Driftstack(key, base_url=installation.url) as client:
            caught = eventually(lambda client=client: problem_of(client), 5, "an error")
            assert type(caught) is expected


def test_a_key_header_of_the_callers_own_makes_creates_repeatable(
    installation: Installation, account: Tenant, kube: pykube.HTTPClient
) -> None:
    with (
        httpx.Client(headers={"Idempotency-Key": uuid4().hex}, trust_env=False) as http,
        Driftstack(account.key, base_url=installation.url, http_client=http) as client,
    ):
        made = {client.sessions.create({"label": "once"}).id for _ in range(3)}
        with pytest.raises(errors.ConflictError, match="Idempotency-Key"):
            client.sessions.create({"label": "twice"})
    assert made == {f"ses_{found.uid}" for found in BrowserSession.objects(kube, namespace=account.namespace)}


def make_key(kube: pykube.HTTPClient, account: Tenant, name: str, **spec: Any) -> str:
    """Make another key of the account; return it."""
    minted = api_keys.mint()
    body = {
        "apiVersion": VERSION,
        "kind": "ApiKey",
        "metadata": {"name": name, "namespace": account.namespace},
        "spec": {"name": name, "scopes": ["account_owner"], "sha256": minted.sha256, **spec},
    }
    ApiKey(kube, body).create()
    return str(minted.plaintext)


def works(client: Driftstack) -> bool:
    """Whether the facade knows the client's key."""
    try:
        client.sessions.list()
    except errors.InvalidKeyError:
        return False
    return True


def problem_of(client: Driftstack) -> errors.DriftstackError | None:
    """Return what listing sessions raises."""
    try:
        client.sessions.list()
    except errors.DriftstackError as error:
        return error
    return None
