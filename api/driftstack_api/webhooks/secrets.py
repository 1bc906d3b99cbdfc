"""The Secrets that deliveries are signed with: made and thrown away here, read by the dispatcher alone.

A Secret belongs to its endpoint (ownerReference), which therefore has to be there first: whatever breaks off in
between, no Secret outlives its endpoint. The facade may create and delete Secrets, and read none.
"""

from __future__ import annotations

import contextlib
import re
from typing import Final, NamedTuple

from driftstack_api.sessions.create import random_name
from driftstack_common.kinds import SecretRef, WebhookEndpoint
from driftstack_common.kube.client import SECRET, Body, KubeClient
from driftstack_common.kube.errors import NotFound
from driftstack_common.names import API_VERSION
from driftstack_common.webhooks import signing

ENTRY: Final = "secret"
_OWN: Final = re.compile(r"whsec-[a-z0-9]{20}")


class SigningKey(NamedTuple):
    """A new key, and how its endpoint names it."""

    plaintext: str
    ref: SecretRef


def mint() -> SigningKey:
    """Return a new random key, to be stored under a name that nothing has."""
    minted = signing.mint()
    return SigningKey(minted.plaintext, SecretRef(name=random_name("whsec"), key=ENTRY, prefix=minted.prefix))


class SigningSecrets:
    """Stores keys as Secrets; every method raises KubeError."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def create(self, endpoint: WebhookEndpoint, key: SigningKey) -> None:
        """Store a key, as the endpoint's own."""
        await self._client.create(SECRET, endpoint.metadata.namespace, _body(endpoint, key))

    async def discard(self, endpoint: WebhookEndpoint, name: str | None) -> None:
        """Throw a key away; one that somebody made with kubectl is theirs, and stays."""
        if name is not None and _OWN.fullmatch(name):
            with contextlib.suppress(NotFound):
                await self._client.delete(SECRET, endpoint.metadata.namespace, name)


def _body(endpoint: WebhookEndpoint, key: SigningKey) -> Body:
    owner = {
        "apiVersion": API_VERSION,
        "kind": WebhookEndpoint.KIND.name,
        "name": endpoint.metadata.name,
        "uid": endpoint.metadata.uid,
    }
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.name,
        "metadata": {"name": key.ref.name, "ownerReferences": [owner]},
        "type": "Opaque",
        "immutable": True,
        "stringData": {ENTRY: key.plaintext},
    }
