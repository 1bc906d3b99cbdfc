"""`driftstack account …`: for whoever runs the cluster."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from driftstack_cli import options
from driftstack_cli.choices import Tier
from driftstack_cli.commands import members
from driftstack_cli.errors import CliError, ExitCode
from driftstack_cli.options import Context, Kubeconfig, Output, Patience, moment, span
from driftstack_cli.output import Format, emit, say

if TYPE_CHECKING:
    from driftstack_cli.progress import Waiting
    from driftstack_common.kube.client import Body, KubeClient

app = typer.Typer(no_args_is_help=True, help="Tenants, each with a cap on live sessions.")
app.add_typer(members.app, name="members")

Name = Annotated[str, typer.Argument(parser=options.name, metavar="NAME", help="The account.", show_default=False)]


@app.command()
def create(
    name: Name,
    tier: Annotated[Tier, typer.Option(help="What it may use.")] = Tier.FREE,
    cap: Annotated[int | None, typer.Option(min=0, help="Live sessions at once, instead of the tier's.")] = None,
    idle_timeout: Annotated[
        timedelta | None,
        typer.Option(parser=span, metavar="SPAN", help="Longest time without a step, instead of the tier's."),
    ] = None,
    max_duration: Annotated[
        timedelta | None,
        typer.Option(parser=span, metavar="SPAN", help="Longest life of a session, instead of the tier's."),
    ] = None,
    overrides_expire: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="WHEN", help="When the tier's values hold again: 30d, or a date."),
    ] = None,
    default_archetype: Annotated[
        str | None, typer.Option(metavar="SLUG", help="Archetype of sessions that name none.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when sessions can be created.")] = False,
    timeout: Patience = timedelta(minutes=2),
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Create an account."""
    from driftstack_cli import accounts, kube

    spec = accounts.spec_of(tier, cap, idle_timeout, max_duration, overrides_expire, default_archetype)

    async def work(client: KubeClient, waiting: Waiting) -> Body:
        created = await accounts.create(client, name, spec)
        return await accounts.until_ready(client, name, timeout, waiting) if wait else created

    body = kube.run(kube.Where(kubeconfig, context), f"Creating account {name}", work)
    emit(output, kube.trimmed(body), lambda: accounts.describe(body))


@app.command("list")
def list_(output: Output = Format.TABLE, kubeconfig: Kubeconfig = None, context: Context = None) -> None:
    """List all accounts."""
    from driftstack_cli import accounts, kube

    where = kube.Where(kubeconfig, context)
    bodies = kube.run(where, "Listing accounts", lambda client, _: accounts.get_all(client))
    if not bodies and output is Format.TABLE:
        say("No accounts; `driftstack account create NAME` makes one.")
        return
    emit(output, kube.listed(bodies), lambda: accounts.table(bodies))


@app.command()
def show(name: Name, output: Output = Format.TABLE, kubeconfig: Kubeconfig = None, context: Context = None) -> None:
    """Show an account: limits, live sessions, and why it isn't ready."""
    from driftstack_cli import accounts, kube

    where = kube.Where(kubeconfig, context)
    body = kube.run(where, f"Reading account {name}", lambda client, _: accounts.get(client, name))
    emit(output, kube.trimmed(body), lambda: accounts.describe(body))


@app.command()
def suspend(
    name: Name, output: Output = Format.TABLE, kubeconfig: Kubeconfig = None, context: Context = None
) -> None:
    """Refuse the account's keys and new sessions; live ones go on."""
    _suspend(name, True, output, kubeconfig, context)


@app.command()
def resume(
    name: Name, output: Output = Format.TABLE, kubeconfig: Kubeconfig = None, context: Context = None
) -> None:
    """Take back a suspension."""
    _suspend(name, False, output, kubeconfig, context)


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return at once.")] = False,
    timeout: Patience = timedelta(minutes=2),
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Delete an account with all that is its: live sessions, keys, history."""
    from driftstack_cli import accounts, kube

    where = kube.Where(kubeconfig, context)
    body = kube.run(where, f"Reading account {name}", lambda client, _: accounts.get(client, name))
    if not yes:
        _confirm(f"Delete account {name}: end its sessions, remove namespace acct-{name}, its keys and history?")
    patience = None if no_wait else timeout
    kube.run(
        where,
        f"Deleting account {name}",
        lambda client, waiting: accounts.delete(client, body, patience, waiting),
    )
    emit(output, {"deleted": [name]}, lambda: f"account {name} {'is being deleted' if no_wait else 'deleted'}")


def _suspend(name: str, suspended: bool, output: Format, kubeconfig: str | None, context: str | None) -> None:
    from driftstack_cli import accounts, kube

    where = kube.Where(kubeconfig, context)
    title = f"{'Suspending' if suspended else 'Resuming'} account {name}"
    body = kube.run(where, title, lambda client, _: accounts.suspend(client, name, suspended))
    emit(output, kube.trimmed(body), lambda: f"account {name} {'suspended' if suspended else 'resumed'}")


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise CliError("nobody can be asked here", ExitCode.USAGE, hint="Add --yes to delete it all the same.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CliError("nothing was deleted")
