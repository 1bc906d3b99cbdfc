"""`driftstack account members …`: who may use an account's namespace with kubectl."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from driftstack_cli import options
from driftstack_cli.choices import MemberKind, MemberRole
from driftstack_cli.options import Context, Kubeconfig, Output
from driftstack_cli.output import Format, emit, say

if TYPE_CHECKING:
    from driftstack_common.kube.client import Body

app = typer.Typer(no_args_is_help=True, help="Who may use an account's namespace with kubectl.")

Name = Annotated[str, typer.Argument(parser=options.name, metavar="NAME", help="The account.", show_default=False)]
Member = Annotated[
    str,
    typer.Argument(
        metavar="MEMBER",
        help="As the API server knows it (`kubectl auth whoami`); a ServiceAccount is NAMESPACE/NAME.",
        show_default=False,
    ),
]
Kind = Annotated[MemberKind, typer.Option(help="What the member is.")]


@app.command()
def add(
    name: Name,
    member: Member,
    role: Annotated[MemberRole, typer.Option(help="What it may do.", show_default=False)],
    kind: Kind = MemberKind.USER,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Add a member, or give one that is there another role."""
    from driftstack_cli import kube, members

    one = members.member(kind, member, role)
    where = kube.Where(kubeconfig, context)
    body = kube.run(where, f"Changing account {name}", lambda client, _: members.add(client, name, one))
    _show(output, body)


@app.command()
def remove(
    name: Name,
    member: Member,
    kind: Kind = MemberKind.USER,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Take a member out, whatever its role."""
    from driftstack_cli import kube, members

    one = members.member(kind, member)
    where = kube.Where(kubeconfig, context)
    body = kube.run(where, f"Changing account {name}", lambda client, _: members.remove(client, name, one))
    _show(output, body)


@app.command("list")
def list_(
    name: Name, output: Output = Format.TABLE, kubeconfig: Kubeconfig = None, context: Context = None
) -> None:
    """List an account's members."""
    from driftstack_cli import accounts, kube

    where = kube.Where(kubeconfig, context)
    body = kube.run(where, f"Reading account {name}", lambda client, _: accounts.get(client, name))
    _show(output, body)


def _show(output: Format, body: Body) -> None:
    from driftstack_cli import members

    found = members.of(body)
    if not found and output is Format.TABLE:
        say("No members: `driftstack account members add` adds one.")
        return
    emit(output, {"members": found}, lambda: members.table(found))
