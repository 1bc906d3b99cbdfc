"""Options that several commands have, and how their texts are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, NamedTuple, TypeVar

import typer

from driftstack_cli.output import Format

T = TypeVar("T")


def reading(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return a parser whose ValueErrors are usage errors that name the option."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return read


def _span(text: str | timedelta) -> timedelta:
    if isinstance(text, timedelta):  # a default
        return text
    from driftstack_cli.durations import parse_span

    return parse_span(text)


class Pair(NamedTuple):
    """`name=value`."""

    name: str
    value: str


def _pair(text: str) -> Pair:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"{text!r} is not of the form name=value")
    return Pair(name, value)


def _moment(text: str) -> datetime:
    from driftstack_cli.durations import parse_moment, utcnow

    return parse_moment(text, utcnow())


def _name(text: str) -> str:
    if re.search(r"[/?#%\s]", text) or text in ("", ".", ".."):
        raise ValueError(f"{text!r} is the name of nothing")
    return text


span = reading(_span)
moment = reading(_moment)
pair = reading(_pair)
name = reading(_name)


def _timeout(default: str) -> Any:
    told = f"How long to wait.  [default: {default}]"
    return typer.Option("--timeout", parser=span, metavar="SPAN", help=told, show_default=False)


Output = Annotated[Format, typer.Option("--output", "-o", help="How to show the result.")]
Kubeconfig = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="The kubeconfig.  [default: KUBECONFIG, or ~/.kube/config]"),
]
Context = Annotated[
    str | None, typer.Option(metavar="NAME", help="The context of the kubeconfig.  [default: its current one]")
]
Patience = Annotated[timedelta, _timeout("2m")]
Timeout = Annotated[timedelta, _timeout("60s")]
LoadTimeout = Annotated[timedelta, _timeout("30s")]
Account = Annotated[
    str | None,
    typer.Option(
        "--account", "-a", parser=name, metavar="NAME", help="The account.  [default: the context's namespace's]"
    ),
]
SessionId = Annotated[str, typer.Argument(metavar="ID", help="The session, ses_….", show_default=False)]
Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]
All = Annotated[bool, typer.Option("--all", help="However many there are.")]
Cursor = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Go on after a list that ended with this next_cursor.")
]
