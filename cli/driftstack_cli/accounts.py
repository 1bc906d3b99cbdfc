"""Accounts: create, list, show, suspend, delete, with what the operator says of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

from driftstack_cli.choices import Tier
from driftstack_cli.durations import age, local, utcnow
from driftstack_cli.errors import CliError, ExitCode
from driftstack_cli.kube import list_all, unless_missing
from driftstack_cli.output import Table, facts
from driftstack_cli.progress import Waiting
from driftstack_common.kinds import Account, Condition, Member, from_body
from driftstack_common.kube.client import Body, KubeClient
from driftstack_common.kube.errors import AlreadyExists, KindGone, NotFound, Unreachable
from driftstack_common.names import API_VERSION
from driftstack_common.times import format_time

KIND: Final = Account.KIND
TAKEN: Final = "NamespaceTaken"
"""A reason that no waiting helps with."""
_POLL: Final = 0.25


def spec_of(
    tier: Tier,
    cap: int | None,
    idle_timeout: timedelta | None,
    max_duration: timedelta | None,
    expires_at: datetime | None,
    default_archetype: str | None,
) -> Body:
    """Return the spec of an account of what was asked for alone; raise CliError for an expiry of nothing."""
    given = {
        "concurrentSessions": cap,
        "idleTimeoutSeconds": None if idle_timeout is None else int(idle_timeout.total_seconds()),
        "maxDurationSeconds": None if max_duration is None else int(max_duration.total_seconds()),
    }
    overrides: Body = {name: value for name, value in given.items() if value is not None}
    if expires_at is not None:
        if not overrides:
            raise CliError("--overrides-expire, but nothing that differs from the tier", ExitCode.USAGE)
        overrides["expiresAt"] = format_time(expires_at)
    spec: Body = {"tier": tier.value}
    if default_archetype:
        spec["defaultArchetype"] = default_archetype
    return {**spec, "overrides": overrides} if overrides else spec


async def create(client: KubeClient, name: str, spec: Body) -> Body:
    """Create an account; return it as stored."""
    body = {"apiVersion": API_VERSION, "kind": KIND.name, "metadata": {"name": name}, "spec": spec}
    try:
        return await client.create(KIND, None, body)
    except AlreadyExists as error:
        hint = f"`driftstack account show {name}` shows it."
        raise CliError(f"account {name} exists already", ExitCode.CONFLICT, hint=hint) from error


async def get(client: KubeClient, name: str) -> Body:
    """Return an account."""
    with unless_missing(missing(name)):
        return await client.get(KIND, None, name)


async def get_all(client: KubeClient) -> list[Body]:
    """Return all accounts, by name."""
    return sorted(await list_all(client, KIND), key=lambda body: str(body["metadata"]["name"]))


async def until_ready(client: KubeClient, name: str, timeout: timedelta, wait: Waiting) -> Body:
    """Return the account once sessions can be created in it.

    Raises:
        CliError: it can't be, or not in time.
    """

    def missing_yet(body: Body | None) -> str:
        if body is None:
            raise missing(name)
        account = from_body(Account, body)
        ready = condition(account)
        if account.ready and account.status.observed_generation == account.metadata.generation:
            return ""
        if ready is not None and ready.reason == TAKEN:
            raise CliError(f"account {name} can't become ready", details=[ready.message])
        return ready.message if ready else "the operator has not seen it yet"

    await _until(client, name, "is not ready", missing_yet, timeout, wait)
    return await get(client, name)


async def suspend(client: KubeClient, name: str, suspended: bool) -> Body:
    """Refuse, or take again, all calls by the account's keys."""
    with unless_missing(missing(name)):
        return await client.merge_patch(KIND, None, name, {"spec": {"suspended": suspended}})


async def delete(client: KubeClient, body: Body, timeout: timedelta | None, wait: Waiting) -> None:
    """Delete an account and wait until it has gone, with all that is its.

    Args:
        body: the very account, as it was seen.
        timeout: None doesn't wait.

    Raises:
        CliError: something holds it up for longer.
    """
    name, uid = body["metadata"]["name"], body["metadata"]["uid"]
    with suppress(NotFound):
        await client.delete(KIND, None, name, uid=uid)
    if timeout is None:
        return

    def held_by(body: Body | None) -> str:
        if body is None or body["metadata"]["uid"] != uid:
            return ""
        ready = condition(from_body(Account, body))
        held = ready.message if ready is not None and ready.reason == "Deleting" else ""
        return held or "its sessions end, then its namespace goes"

    await _until(client, name, "is still being deleted", held_by, timeout, wait)


def missing(name: str) -> CliError:
    """Return the error for an account that there is not."""
    return CliError(f"there is no account {name}", ExitCode.NOT_FOUND, hint="`driftstack account list` lists all.")


def condition(account: Account) -> Condition | None:
    """Return what the operator says of the account."""
    return next((entry for entry in account.status.conditions if entry.type == "Ready"), None)


def table(bodies: list[Body]) -> Table:
    """Return accounts for people, a row each."""
    columns = ("NAME", "TIER", "LIVE", "LIMIT", "READY", "SUSPENDED", "AGE", "REASON")
    return Table(columns, [_row(from_body(Account, body)) for body in bodies], elastic=("REASON",))


def describe(body: Body) -> str:
    """Return one account for people."""
    account = from_body(Account, body)
    ready = condition(account)
    pairs: list[tuple[str, Any]] = [
        ("Name", account.metadata.name),
        ("Id", account.id),
        ("Namespace", account.namespace),
        ("Tier", account.spec.tier.value),
        ("Live sessions", f"{_count(account.status.live)} of {_count(account.status.limit)}"),
        ("Suspended", "yes" if account.spec.suspended else "no"),
        ("Default archetype", account.spec.default_archetype),
        *((f"Override {name}", str(value)) for name, value in body["spec"].get("overrides", {}).items()),
        *((f"Member {one.role}", f"{one.kind} {_with_namespace(one)}") for one in account.spec.members),
        ("Ready", ready.status if ready else "Unknown"),
    ]
    if ready:
        pairs.append(("Reason", f"{ready.reason}: {ready.message}"))
    created = account.metadata.creation_timestamp
    if created:
        pairs.append(("Created", f"{local(created)} ({age(created, utcnow())} ago)"))
    return facts(pairs)


def _row(account: Account) -> tuple[str, ...]:
    ready = condition(account)
    created = account.metadata.creation_timestamp
    return (
        account.metadata.name,
        account.spec.tier.value,
        _count(account.status.live),
        _count(account.status.limit),
        ready.status if ready else "Unknown",
        "yes" if account.spec.suspended else "no",
        age(created, utcnow()) if created else "",
        ready.reason if ready and ready.status != "True" else "",
    )


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)


async def _until(
    client: KubeClient,
    name: str,
    state: str,
    waits_for: Callable[[Body | None], str],
    timeout: timedelta,
    wait: Waiting,
) -> None:
    """Look at an account (None once it has gone) until it waits for nothing; outages that pass are waited out.

    Raises:
        CliError: the timeout ran out, and it still is in that state.
    """
    seconds = timeout.total_seconds()
    deadline = time.monotonic() + seconds
    while True:
        try:
            wait.detail = waits_for(await _look(client, name))
        except Unreachable as error:
            if time.monotonic() >= deadline:
                raise
            wait.detail = error.message
        if not wait.detail:
            return
        if time.monotonic() >= deadline:
            hint = "It goes on by itself; --timeout waits longer."
            message = f"account {name} {state} after {seconds:g} s"
            raise CliError(message, ExitCode.TIMEOUT, details=[wait.detail], hint=hint)
        await asyncio.sleep(_POLL)


async def _look(client: KubeClient, name: str) -> Body | None:
    try:
        return await client.get(KIND, None, name)
    except KindGone:
        raise
    except NotFound:
        return None


def _with_namespace(member: Member) -> str:
    return f"{member.namespace}/{member.name}" if member.namespace else member.name
