"""Members of accounts: added, removed and listed in `spec.members`, which the operator makes role bindings of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from driftstack_cli import accounts
from driftstack_cli.choices import MemberKind, MemberRole
from driftstack_cli.errors import CliError, ExitCode
from driftstack_cli.output import Table
from driftstack_common.kube.client import Body, KubeClient
from driftstack_common.kube.errors import Conflict

_TRIES: Final = 5
"""How often to read an account again that others write at the same time."""
_WHO: Final = ("kind", "name", "namespace")

Members = list[dict[str, str]]


def member(kind: MemberKind, text: str, role: MemberRole | None = None) -> dict[str, str]:
    """Return a member as an account has it; raise CliError where the text names none of its kind."""
    namespace, slash, name = text.partition("/") if kind is MemberKind.SERVICE_ACCOUNT else ("", "/", text)
    if not (name and slash) or (kind is MemberKind.SERVICE_ACCOUNT and not namespace):
        hint = "A ServiceAccount is named with its namespace, e.g. ci/deployer."
        raise CliError(f"{text!r} is no {kind.value}", ExitCode.USAGE, hint=hint)
    one = {"kind": kind.value, "name": name}
    if namespace:
        one["namespace"] = namespace
    return one if role is None else {**one, "role": role.value}


def of(body: Body) -> Members:
    """Return the members of an account."""
    found: Members = body.get("spec", {}).get("members") or []
    return found


async def add(client: KubeClient, account: str, one: dict[str, str]) -> Body:
    """Make somebody a member with this role alone; return the account as stored."""
    return await _change(client, account, lambda known: [*(m for m in known if _who(m) != _who(one)), one])


async def remove(client: KubeClient, account: str, one: dict[str, str]) -> Body:
    """Take a member out; return the account as stored.

    Raises:
        CliError: it is none.
    """

    def without(known: Members) -> Members:
        rest = [each for each in known if _who(each) != _who(one)]
        if len(rest) == len(known):
            hint = f"`driftstack account members list {account}` lists all."
            name = "/".join(filter(None, (one.get("namespace"), one["name"])))
            raise CliError(f"{one['kind']} {name} is no member of {account}", ExitCode.NOT_FOUND, hint=hint)
        return rest

    return await _change(client, account, without)


async def _change(client: KubeClient, account: str, change: Callable[[Members], Members]) -> Body:
    """Replace the list, if it is still the one that was read: a merge patch can't change one entry."""
    for _ in range(_TRIES):
        body = await accounts.get(client, account)
        known, meta = of(body), body["metadata"]
        changed = change(known)
        if changed == known:
            return body
        version = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        try:
            return await client.merge_patch(
                accounts.KIND, None, account, {"metadata": version, "spec": {"members": changed}}
            )
        except Conflict:  # the operator has written its status, most often
            continue
    raise CliError(f"account {account} is being changed by others", ExitCode.CONFLICT, hint="Try again.")


def table(members: Members) -> Table:
    """Return members for people, a row each."""
    rows = [
        (one["kind"], "/".join(filter(None, (one.get("namespace"), one["name"]))), one["role"]) for one in members
    ]
    return Table(("KIND", "NAME", "ROLE"), rows, elastic=("NAME",))


def _who(one: dict[str, str]) -> tuple[str, ...]:
    return tuple(one.get(field, "") for field in _WHO)
