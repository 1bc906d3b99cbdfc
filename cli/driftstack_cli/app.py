"""The tree of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from driftstack_cli.commands import account, key, session, webhook
from driftstack_cli.options import Output
from driftstack_cli.output import Format, emit


def tree(completion: bool = True) -> typer.Typer:
    """Return all commands; `completion` also offers to set that up in the shell."""
    # Plain help: drawing boxes takes longer than all else that help does.
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=completion,
        callback=_driftstack,
    )
    app.add_typer(session.app, name="session")
    app.add_typer(webhook.app, name="webhook")
    app.add_typer(account.app, name="account")
    app.add_typer(key.app, name="key")
    app.command()(version)
    return app


def _number() -> str:
    from importlib.metadata import version as installed

    return installed("driftstack")


def _version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


def _driftstack(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Real browsers on your Kubernetes: accounts and keys for those who run it, sessions for those who use it."""


def version(output: Output = Format.TABLE) -> None:
    """Show the version of this command."""
    number = _number()
    emit(output, {"version": number}, lambda: f"driftstack {number}")
