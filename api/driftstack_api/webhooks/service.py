"""Making, changing and ending endpoints; every method sees the caller's own account only."""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec import to_builtins

from driftstack_api.auth import Caller
from driftstack_api.caches import Caches
from driftstack_api.looks import Looks
from driftstack_api.problems import Issue, Problem, invalid, unavailable
from driftstack_api.sessions.create import random_name
from driftstack_api.sessions.idempotency import going
from driftstack_api.webhooks.schemas import (
    CreateWebhook,
    NewSecret,
    NewWebhook,
    UpdateWebhook,
    WebhookList,
    WebhookObject,
)
from driftstack_api.webhooks.secrets import SigningKey, SigningSecrets, mint
from driftstack_api.webhooks.targets import Targets
from driftstack_api.webhooks.view import created, show_endpoint
from driftstack_common.kinds import WebhookEndpoint, WebhookEndpointSpec, from_body, to_body
from driftstack_common.kinds.meta import Meta
from driftstack_common.kube.client import Body, KubeClient
from driftstack_common.kube.errors import Invalid, KubeError, NamespaceTerminating, NotFound, QuotaExceeded
from driftstack_common.names import ENDPOINT_ID
from driftstack_common.times import format_time, now

MOST_ENDPOINTS: Final = 10
"""Endpoints of an account that are not disabled; two replicas at one moment may make it a few more."""
MOST_DISABLED: Final = 40
"""Disabled endpoints that are kept to be looked at; a create removes what exceeds it, oldest first."""
GRACE: Final = timedelta(hours=24)
"""How long the secret before a rotation signs as well."""
ARRIVAL_SECONDS: Final = 1.0
"""How long a change may take to reach this replica's copy before it is shown all the same."""


class Webhooks:
    """What callers can do with the endpoints of their account; `enabled`: there is a dispatcher."""

    def __init__(
        self, client: KubeClient, looks: Looks, caches: Caches, targets: Targets, *, enabled: bool = True
    ) -> None:
        self._enabled = enabled
        self._client = client
        self._looks = looks
        self._caches = caches
        self._targets = targets
        self._secrets = SigningSecrets(client)
        self._making: Counter[str] = Counter()

    async def create(self, caller: Caller, body: CreateWebhook) -> NewWebhook:
        """Make an endpoint and its secret.

        Raises:
            Problem: validation-failed (url), conflict (there are as many as there can be; an account that is
                going), feature-unavailable.
        """
        self.need_dispatcher()
        await self._targets.check(body.url)
        namespace = caller.namespace
        own = self._caches.endpoints.of_namespace(namespace)
        if sum(one.live for one in own) + self._making[namespace] >= MOST_ENDPOINTS:
            raise Problem("conflict", f"The account has {MOST_ENDPOINTS} webhook endpoints: delete one.")
        self._making[namespace] += 1
        try:
            return await self._create(caller, body)
        finally:
            self._making[namespace] -= 1

    def need_dispatcher(self) -> None:
        """Promise no delivery that nobody would make; raise Problem feature-unavailable."""
        if not self._enabled:
            raise Problem("feature-unavailable", "Webhooks are switched off here: nothing would be sent.")

    def list_all(self, caller: Caller) -> WebhookList:
        """Return every endpoint of the account, newest first.

        Raises:
            Problem: feature-unavailable while the copy may be out of date.
        """
        if not self._caches.webhooks_fresh:
            raise unavailable("The list of webhook endpoints may be out of date right now.")
        own = sorted(self._caches.endpoints.of_namespace(caller.namespace), key=_age, reverse=True)
        return WebhookList(data=[show_endpoint(one) for one in own])

    async def get(self, caller: Caller, webhook_id: str) -> WebhookObject:
        """Return an endpoint; raise Problem not-found."""
        return show_endpoint(await self.find(caller, webhook_id))

    async def update(self, caller: Caller, webhook_id: str, body: UpdateWebhook) -> WebhookObject:
        """Change an endpoint.

        Raises:
            Problem: not-found, validation-failed (url), conflict (it is disabled).
        """
        endpoint = await self.find_enabled(caller, webhook_id)
        spec: dict[str, Any] = {}
        if body.url is not None:
            await self._targets.check(body.url)
            spec["url"] = body.url
        if body.events is not None:
            spec["events"] = body.events
        if "description" in body.model_fields_set:
            spec["description"] = body.description
        if body.active is not None:
            spec["paused"] = not body.active
        return show_endpoint(await self._patch(endpoint, spec))

    async def delete(self, caller: Caller, webhook_id: str) -> None:
        """Disable an endpoint for good and throw its secrets away; fine when that was done before.

        Raises:
            Problem: not-found.
        """
        endpoint = await self.find(caller, webhook_id)
        if not endpoint.spec.disabled:
            with contextlib.suppress(NotFound):  # somebody took the object away, its secrets with it
                await self._patch(endpoint, {"disabled": True, "disabledAt": format_time(now())})
        previous = endpoint.spec.previous_secret_ref
        await self._secrets.discard(endpoint, endpoint.spec.secret_ref.name)
        await self._secrets.discard(endpoint, previous.name if previous is not None else None)

    async def rotate(self, caller: Caller, webhook_id: str) -> NewSecret:
        """Give an endpoint a new secret; the one it has signs as well for 24 more hours, the one before no more.

        Raises:
            Problem: not-found, conflict (it is disabled, or another rotation came in between).
        """
        endpoint = await self.find_enabled(caller, webhook_id)
        key, ends = mint(), now() + GRACE
        old, oldest = endpoint.spec.secret_ref, endpoint.spec.previous_secret_ref
        try:
            await self._secrets.create(endpoint, key)
        except KubeError:  # nobody learns of the new one
            await self._throw_away(endpoint, key)
            raise
        try:
            await self._replace_secret(endpoint, key, ends)
        except (Problem, NotFound):
            await self._throw_away(endpoint, key)
            raise  # after any other error it may be the endpoint's by now, which would sign nothing without it
        with contextlib.suppress(KubeError):  # else it goes with the endpoint
            await self._secrets.discard(endpoint, oldest.name if oldest is not None else None)
        return NewSecret(
            id=endpoint.id,
            secret=key.plaintext,
            secret_prefix=key.ref.prefix,
            prev_secret_prefix=old.prefix,
            grace_expires_at=format_time(ends),
        )

    async def find(self, caller: Caller, webhook_id: str) -> WebhookEndpoint:
        """Return an endpoint by its public id: as the copy has it, or, unless that is sure, as the API server does.

        Raises:
            Problem: not-found.
        """
        known = (one for one in self._caches.endpoints.of_namespace(caller.namespace) if one.id == webhook_id)
        found = next(known, None)
        if (found is None and ENDPOINT_ID.fullmatch(webhook_id)) or not self._caches.webhooks_fresh:
            stored = await self._looks.webhooks(caller.namespace)
            found = next((one for one in stored if one.id == webhook_id), None)
        if found is None:
            raise Problem("not-found", "There is no such webhook endpoint.")
        return found

    async def find_enabled(self, caller: Caller, webhook_id: str) -> WebhookEndpoint:
        """Return an endpoint that is not disabled; raise Problem not-found or conflict."""
        endpoint = await self.find(caller, webhook_id)
        if not endpoint.live:
            raise Problem("conflict", "This webhook endpoint is disabled: create a new one.")
        return endpoint

    async def _create(self, caller: Caller, body: CreateWebhook) -> NewWebhook:
        """Store the endpoint, then the secret that it names, which belongs to it.

        Broken off in between, the endpoint is there without its secret: in the list, to be rotated or deleted.
        """
        await self._make_room(caller.namespace)
        key = mint()
        spec = WebhookEndpointSpec(
            url=body.url, events=list(body.events), description=body.description, secret_ref=key.ref
        )
        made = WebhookEndpoint(metadata=Meta(name=random_name("webhook"), namespace=caller.namespace), spec=spec)
        try:
            answer = await self._client.create(WebhookEndpoint.KIND, caller.namespace, to_body(made))
        except (NamespaceTerminating, NotFound) as error:
            raise going(caller.account) from error
        except QuotaExceeded as error:
            raise _too_many(error) from error
        except Invalid as error:
            raise _refused(error) from error
        stored = from_body(WebhookEndpoint, answer)
        try:
            await self._secrets.create(stored, key)
        except KubeError:
            with contextlib.suppress(KubeError):
                await self._remove(stored)
            raise
        await self._arrived(stored)
        return NewWebhook(**show_endpoint(stored).model_dump(), secret=key.plaintext)

    async def _make_room(self, namespace: str) -> None:
        """Remove the oldest of too many disabled endpoints, with their deliveries."""
        disabled = [one for one in self._caches.endpoints.of_namespace(namespace) if not one.live]
        for endpoint in sorted(disabled, key=_age)[: max(0, len(disabled) - MOST_DISABLED)]:
            with contextlib.suppress(KubeError):  # the next create tries again
                await self._remove(endpoint)

    async def _remove(self, endpoint: WebhookEndpoint) -> None:
        metadata = endpoint.metadata
        await self._client.delete(WebhookEndpoint.KIND, metadata.namespace, metadata.name, uid=metadata.uid)

    async def _throw_away(self, endpoint: WebhookEndpoint, key: SigningKey) -> None:
        with contextlib.suppress(KubeError):  # else it goes with the endpoint
            await self._secrets.discard(endpoint, key.ref.name)

    async def _patch(self, endpoint: WebhookEndpoint, spec: dict[str, Any]) -> WebhookEndpoint:
        metadata = endpoint.metadata
        patch = {"metadata": {"uid": metadata.uid}, "spec": spec}
        try:
            body = await self._client.merge_patch(WebhookEndpoint.KIND, metadata.namespace, metadata.name, patch)
        except Invalid as error:
            raise _refused(error) from error
        return await self._arrived(from_body(WebhookEndpoint, body))

    async def _replace_secret(self, endpoint: WebhookEndpoint, key: SigningKey, ends: datetime) -> None:
        """Name the new secret, provided that the one to be replaced is still the endpoint's."""
        metadata, old = endpoint.metadata, to_builtins(endpoint.spec.secret_ref)
        operations: list[Body] = [
            {"op": "test", "path": "/metadata/uid", "value": metadata.uid},
            {"op": "test", "path": "/spec/secretRef/name", "value": old["name"]},
            {"op": "add", "path": "/spec/secretRef", "value": to_builtins(key.ref)},
            {"op": "add", "path": "/spec/previousSecretRef", "value": {**old, "expiresAt": format_time(ends)}},
        ]
        try:
            body = await self._client.json_patch(
                WebhookEndpoint.KIND, metadata.namespace, metadata.name, operations
            )
        except Invalid as error:
            raise Problem("conflict", "Another rotation came first: rotate again.") from error
        await self._arrived(from_body(WebhookEndpoint, body))

    async def _arrived(self, endpoint: WebhookEndpoint) -> WebhookEndpoint:
        """Wait for the copy, so that the caller's next read shows it."""
        if self._caches.webhooks_fresh:
            await self._caches.endpoints.arrived(endpoint, ARRIVAL_SECONDS)
        return endpoint


def _too_many(error: QuotaExceeded) -> Problem:
    if error.unknown:
        return unavailable("How many webhook endpoints this account has is being worked out. Try again.")
    return Problem(
        "conflict",
        "The account has as many webhook endpoints as it may have, kubectl's and disabled ones included.",
    )


def _refused(error: Invalid) -> Problem:
    """Return the problem for what the schema of the kind refused."""
    causes = [(str(cause.get("field", "")), str(cause.get("message", ""))) for cause in error.causes]
    issues = [Issue(field.removeprefix("spec."), said) for field, said in causes if field.startswith("spec.")]
    return invalid(issues or [Issue("", error.message)])


def _age(endpoint: WebhookEndpoint) -> tuple[datetime, str]:
    return created(endpoint), endpoint.metadata.uid
