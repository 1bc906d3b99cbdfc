"""`driftstack session …`: for whoever uses browsers; by REST, with DRIFTSTACK_URL and DRIFTSTACK_API_KEY."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from driftstack_cli.choices import Captured, Goal, Pace, WaitUntil
from driftstack_cli.options import All, Cursor, Limit, LoadTimeout, Output, Pair, SessionId, Timeout, pair
from driftstack_cli.output import Format, emit, say, write_bytes

app = typer.Typer(
    no_args_is_help=True,
    short_help="Browser sessions, by REST.",
    help="Browser sessions, by REST: set DRIFTSTACK_URL and DRIFTSTACK_API_KEY.",
)

WAIT = timedelta(seconds=60)


@app.command()
def create(
    archetype: Annotated[str | None, typer.Option(metavar="SLUG", help="The device that pages see.")] = None,
    label: Annotated[str | None, typer.Option(metavar="TEXT", help="A note of your own.")] = None,
    metadata: Annotated[
        list[Pair] | None,
        typer.Option(parser=pair, metavar="NAME=VALUE", help="Data of your own; repeat it."),
    ] = None,
    behavioral_profile: Annotated[Pace | None, typer.Option(help="Pace of typing and pointer.")] = None,
    profile: Annotated[str | None, typer.Option(metavar="ID", help="A profile of the account.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Repeating the command with it gives the same session.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is ready.")] = False,
    timeout: Timeout = WAIT,
    output: Output = Format.TABLE,
) -> None:
    """Create a session and print its id."""
    from driftstack_cli import sessions

    given: dict[str, Any] = {
        "archetype": archetype,
        "label": label,
        "metadata": dict(metadata) if metadata else None,
        "behavioral_profile": behavioral_profile,
        "profile_id": profile,
    }
    body = {name: value for name, value in given.items() if value is not None}
    with sessions.api(os.environ, "Creating a session") as (api, waiting):
        session = sessions.create(api, body, idempotency_key, timeout if wait else None)
        if wait:
            waiting.detail = session["status"]
            session = sessions.follow(api, session["id"], Goal.READY, timeout, waiting)
    emit(output, session, lambda: str(session["id"]))


@app.command("list")
def list_(
    limit: Limit = 50,
    all_: All = False,
    cursor: Cursor = None,
    output: Output = Format.TABLE,
) -> None:
    """List sessions, the newest first, ended ones included."""
    from driftstack_cli import sessions

    with sessions.api(os.environ, "Listing sessions") as (api, _):
        page = sessions.list_sessions(api, None if all_ else limit, cursor)
    if not page["data"] and output is Format.TABLE:
        say("No sessions; `driftstack session create` starts one.")
        return
    emit(output, page, lambda: sessions.table(page["data"]))
    if page["has_more"] and output is Format.TABLE:
        say(f"There are more: --all, or --cursor {page['next_cursor']}")


@app.command()
def show(session: SessionId, output: Output = Format.TABLE) -> None:
    """Show a session, also after its end."""
    from driftstack_cli import sessions

    with sessions.api(os.environ, f"Reading {session}") as (api, _):
        found = sessions.get(api, session)
    emit(output, found, lambda: sessions.describe(found))


@app.command()
def wait(
    session: SessionId,
    goal: Annotated[Goal, typer.Option("--for", help="ready, or its end.")] = Goal.READY,
    timeout: Timeout = WAIT,
    output: Output = Format.TABLE,
) -> None:
    """Wait until a session is ready, or until it has ended."""
    from driftstack_cli import sessions

    with sessions.api(os.environ, f"Waiting for {session}") as (api, waiting):
        found = sessions.follow(api, session, goal, timeout, waiting)
    emit(output, found, lambda: sessions.describe(found))


@app.command()
def navigate(
    session: SessionId,
    url: Annotated[str, typer.Argument(metavar="URL", help="http, https or about:blank.", show_default=False)],
    wait_until: Annotated[WaitUntil, typer.Option(help="When the page counts as loaded.")] = WaitUntil.LOAD,
    timeout: LoadTimeout = timedelta(seconds=30),
    output: Output = Format.TABLE,
) -> None:
    """Load a page; prints its HTTP status and where it went."""
    from driftstack_cli import sessions

    with sessions.api(os.environ, f"Loading {url}") as (api, _):
        moved = sessions.navigate(api, session, url, wait_until, timeout)
    emit(output, moved, lambda: f"{moved['status']} {moved['final_url']}")


@app.command()
def capture(
    session: SessionId,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Where to; - is stdout.  [default: ID.png, .pdf, .json]")
    ] = None,
    kind: Annotated[
        Captured | None, typer.Option(help="What to capture.  [default: by FILE's ending, or screenshot]")
    ] = None,
    full_page: Annotated[bool, typer.Option("--full-page", help="All of the page, not what is visible.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite FILE.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Capture the page: a screenshot (PNG), a PDF, or a DOM snapshot (JSON)."""
    from driftstack_cli import captures, sessions

    plan = captures.plan(session, file, kind, force, sys.stdout.isatty())
    with sessions.api(os.environ, f"Capturing {session}") as (api, _):
        data, told = sessions.capture(api, session, plan.kind, full_page)
    if plan.file is None:
        write_bytes(data)
        return
    captures.save(plan.file, data, force)
    emit(output, {"file": str(plan.file), **told}, lambda: str(plan.file))


@app.command("open")
def open_(session: SessionId, output: Output = Format.TABLE) -> None:
    """Print a URL that opens the session's DevTools, for Playwright, Puppeteer and the like."""
    from driftstack_cli import sessions

    with sessions.api(os.environ, f"Opening {session}") as (api, _):
        opened = sessions.connect(api, session)
    emit(output, opened, lambda: str(opened["connect_url"]))
    if output is Format.TABLE:
        say(f"Connect before {opened['expires_at']}; whoever has this URL has the browser.")


@app.command()
def delete(
    session: Annotated[list[str], typer.Argument(metavar="ID...", help="Sessions, ses_….", show_default=False)],
    timeout: Timeout = WAIT,
    output: Output = Format.TABLE,
) -> None:
    """End sessions; returns when they have gone. Repeating it is fine."""
    from driftstack_cli import sessions

    for one in session:
        with sessions.api(os.environ, f"Deleting {one}") as (api, waiting):
            sessions.delete(api, one, timeout, waiting)
    emit(output, {"deleted": session}, lambda: "\n".join(f"session {one} deleted" for one in session))
