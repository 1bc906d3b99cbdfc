"""API keys: minted here, stored as a hash, shown once."""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timedelta
from typing import Final

from driftstack_cli.durations import age, local, utcnow
from driftstack_cli.errors import CliError, ExitCode
from driftstack_cli.kube import list_all, unless_missing
from driftstack_cli.output import Table
from driftstack_common import api_keys
from driftstack_common.kinds import ApiKey, from_body
from driftstack_common.kube.client import Body, KubeClient
from driftstack_common.kube.errors import Conflict
from driftstack_common.names import ACCOUNT_NAMESPACE_PREFIX, API_VERSION, account_namespace
from driftstack_common.times import format_time, now

KIND: Final = ApiKey.KIND
GRACE: Final = timedelta(hours=24)
"""How long a key that was rotated still works."""
_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
"""Of suffixes, as Kubernetes' own: no vowels, so no words."""


async def mint(
    client: KubeClient, namespace: str, name: str, scopes: list[str], expires_at: datetime | None
) -> tuple[str, Body]:
    """Create a key in an account's namespace; return its plaintext, which nothing stores, and its object."""
    minted = api_keys.mint()
    spec: Body = {"name": name, "scopes": scopes, "sha256": minted.sha256, "keyPrefix": minted.prefix}
    if expires_at is not None:
        spec["expiresAt"] = format_time(expires_at)
    metadata = {"name": object_name(name), "namespace": namespace}
    body = {"apiVersion": API_VERSION, "kind": KIND.name, "metadata": metadata, "spec": spec}
    with unless_missing(no_account(namespace)):
        return minted.plaintext, await client.create(KIND, namespace, body)


async def find(client: KubeClient, namespace: str, name: str) -> Body:
    """Return a key by the name of its object or by its public id (`key_…`)."""
    hint = f"`driftstack key list --account {_account(namespace)}` lists all."
    missing = CliError(f"there is no key {name} in {namespace}", ExitCode.NOT_FOUND, hint=hint)
    if not name.startswith("key_"):
        with unless_missing(missing):
            return await client.get(KIND, namespace, name)
    for body in await list_all(client, KIND, namespace):
        if from_body(ApiKey, body).id == name:
            return body
    raise missing


async def get_all(client: KubeClient, namespace: str | None) -> list[Body]:
    """Return the keys of an account, or of all, the newest last."""
    bodies = await list_all(client, KIND, namespace)
    return sorted(bodies, key=lambda body: (body["metadata"]["namespace"], body["metadata"]["creationTimestamp"]))


async def revoke(client: KubeClient, body: Body) -> Body:
    """Refuse a key from now on; one that is refused already stays as it is."""
    where = body["metadata"]
    if body["spec"].get("revoked"):
        return body
    patch = {"spec": {"revoked": True, "revokedAt": format_time(now())}}
    return await client.merge_patch(KIND, where["namespace"], where["name"], patch)


def rotatable(body: Body) -> ApiKey:
    """Return the key to rotate; raise CliError when it works no longer, or has been rotated before."""
    key = from_body(ApiKey, body)
    name, successor = key.metadata.name, key.spec.replaced_by
    if state(key) != "active":
        hint = "`driftstack key create` makes a new one."
        raise CliError(f"key {name} is {state(key)}, so nobody uses it", ExitCode.CONFLICT, hint=hint)
    if successor is not None:
        hint = f"`driftstack key rotate {successor}` replaces that one."
        raise CliError(f"key {name} was rotated already: {successor} replaces it", ExitCode.CONFLICT, hint=hint)
    return key


async def retire(client: KubeClient, key: ApiKey, successor: Body) -> Body:
    """Let a key that has been replaced work for GRACE, no longer; an earlier expiry, set meanwhile even, stands."""
    while True:
        ends = min(now() + GRACE, key.spec.expires_at or now() + GRACE)
        version = {"uid": key.metadata.uid, "resourceVersion": key.metadata.resource_version}
        spec = {"expiresAt": format_time(ends), "replacedBy": successor["metadata"]["name"]}
        try:
            where = (key.metadata.namespace, key.metadata.name)
            return await client.merge_patch(KIND, *where, {"metadata": version, "spec": spec})
        except Conflict:
            known, key = key, rotatable(await client.get(KIND, *where))
            if key.metadata.uid != known.metadata.uid:  # another key by now
                raise


def namespace_of(account: str | None, client: KubeClient) -> str:
    """Return the account's namespace: the one named, or the kubeconfig context's.

    Raises:
        CliError: neither tells.
    """
    if account:
        return account_namespace(account)
    if client.namespace and client.namespace.startswith(ACCOUNT_NAMESPACE_PREFIX):
        return client.namespace
    raise CliError(
        "whose key? --account is missing",
        ExitCode.USAGE,
        hint="Name the account, or choose a context whose namespace is an account's (acct-…).",
    )


def no_account(namespace: str) -> CliError:
    """Return the error for a namespace that there is not."""
    return CliError(
        f"there is no account {_account(namespace)}, or it is not ready yet (namespace {namespace})",
        ExitCode.NOT_FOUND,
        hint="`driftstack account list` lists all.",
    )


def object_name(title: str) -> str:
    """Return a name for the object of a key called so: readable, and unlike any other."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower())[:50].strip("-") or "key"
    return f"{slug}-{''.join(secrets.choice(_ALPHABET) for _ in range(5))}"


def state(key: ApiKey) -> str:
    """Return active, revoked or expired."""
    if key.spec.revoked or key.metadata.deletion_timestamp is not None:
        return "revoked"
    ends = key.spec.expires_at
    return "expired" if ends is not None and ends <= now() else "active"


def table(bodies: list[Body]) -> Table:
    """Return keys for people, a row each."""
    columns = ("NAME", "ACCOUNT", "TITLE", "PREFIX", "SCOPES", "STATE", "EXPIRES", "AGE")
    return Table(columns, [_row(from_body(ApiKey, body)) for body in bodies], elastic=("TITLE", "SCOPES"))


def _row(key: ApiKey) -> tuple[str, ...]:
    created = key.metadata.creation_timestamp
    return (
        key.metadata.name,
        _account(key.metadata.namespace or ""),
        key.spec.name,
        key.spec.key_prefix,
        ",".join(key.spec.scopes),
        state(key),
        local(key.spec.expires_at) if key.spec.expires_at else "never",
        age(created, utcnow()) if created else "",
    )


def _account(namespace: str) -> str:
    return namespace.removeprefix(ACCOUNT_NAMESPACE_PREFIX)
