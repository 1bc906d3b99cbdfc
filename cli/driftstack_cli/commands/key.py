"""`driftstack key …`: for whoever manages an account."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from driftstack_cli import options
from driftstack_cli.choices import Scope
from driftstack_cli.errors import CliError
from driftstack_cli.options import Account, Context, Kubeconfig, Output, moment
from driftstack_cli.output import Format, emit, say

if TYPE_CHECKING:
    from driftstack_cli.progress import Waiting
    from driftstack_common.kinds import ApiKey
    from driftstack_common.kube.client import Body, KubeClient

app = typer.Typer(no_args_is_help=True, help="API keys of an account.")

Key = Annotated[
    str, typer.Argument(parser=options.name, metavar="NAME", help="Its name, or key_….", show_default=False)
]


@app.command()
def create(
    account: Account = None,
    name: Annotated[str, typer.Option(metavar="TEXT", help="What you call it.")] = "cli",
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it may do; repeat it.  [default: read, write]")
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="WHEN", help="30d, 2027-01-31 or an RFC 3339 time.  [default: never]"),
    ] = None,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Create a key and print it, once: only its SHA-256 is stored."""
    from driftstack_cli import keys, kube

    scopes = [one.value for one in dict.fromkeys(scope or [Scope.READ, Scope.WRITE])]

    async def work(client: KubeClient, _: Waiting) -> tuple[str, Body]:
        namespace = keys.namespace_of(account, client)
        return await keys.mint(client, namespace, name, scopes, expires)

    plaintext, body = kube.run(kube.Where(kubeconfig, context), "Creating a key", work)
    _hand_over(plaintext, body, output)


@app.command("list")
def list_(
    account: Account = None,
    all_accounts: Annotated[bool, typer.Option("--all-accounts", "-A", help="The keys of all accounts.")] = False,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """List keys."""
    from driftstack_cli import keys, kube

    async def work(client: KubeClient, _: Waiting) -> list[Body]:
        return await keys.get_all(client, None if all_accounts else keys.namespace_of(account, client))

    bodies = kube.run(kube.Where(kubeconfig, context), "Listing keys", work)
    if not bodies and output is Format.TABLE:
        say("No keys; `driftstack key create` makes one.")
        return
    emit(output, kube.listed(bodies), lambda: keys.table(bodies))


@app.command()
def rotate(
    key: Key,
    account: Account = None,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Create a key in another's place and print it; the old one works for 24 hours more."""
    from driftstack_cli import keys, kube

    where = kube.Where(kubeconfig, context)

    async def replace(client: KubeClient, _: Waiting) -> tuple[ApiKey, str, Body]:
        old = keys.rotatable(await keys.find(client, keys.namespace_of(account, client), key))
        minted = await keys.mint(
            client, old.metadata.namespace or "", old.spec.name, old.spec.scopes, old.spec.expires_at
        )
        return old, *minted

    old, plaintext, body = kube.run(where, f"Rotating key {key}", replace)
    # First the new key, which is shown nowhere else; if what follows fails, both work.
    _hand_over(plaintext, body, output)
    try:
        kube.run(where, f"Retiring key {key}", lambda client, _: keys.retire(client, old, body))
    except CliError as error:
        hint = f"The new key works. Revoke the old one when nobody uses it: driftstack key revoke {key}"
        raise CliError(
            f"the old key {key} works on for as long as before: {error}", error.code, hint=hint
        ) from error
    say(f"The old key {old.metadata.name} works until it expires, in 24 hours at most.")


@app.command()
def revoke(
    key: Key,
    account: Account = None,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Refuse a key from now on. This can't be taken back."""
    from driftstack_cli import keys, kube

    async def work(client: KubeClient, _: Waiting) -> Body:
        return await keys.revoke(client, await keys.find(client, keys.namespace_of(account, client), key))

    body = kube.run(kube.Where(kubeconfig, context), f"Revoking key {key}", work)
    emit(output, kube.trimmed(body), lambda: f"key {body['metadata']['name']} revoked")


def _hand_over(plaintext: str, body: Body, output: Format) -> None:
    from driftstack_cli import kube

    where = body["metadata"]
    emit(output, {"plaintext": plaintext, "key": kube.trimmed(body)}, lambda: plaintext)
    say(f"Key {where['name']} ({', '.join(body['spec']['scopes'])}) in {where['namespace']}: it is shown only now.")
