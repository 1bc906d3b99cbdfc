"""`driftstack webhook …`: be told of events; by REST, with DRIFTSTACK_URL and DRIFTSTACK_API_KEY."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from driftstack_cli.choices import DeliveryStatus, Event
from driftstack_cli.options import All, Cursor, Limit, Output
from driftstack_cli.output import Format, emit, say

app = typer.Typer(
    no_args_is_help=True,
    short_help="Webhooks: be told of events, by REST.",
    help="Webhooks, by REST: set DRIFTSTACK_URL and DRIFTSTACK_API_KEY (account_owner; read:webhooks to look).",
)

WebhookId = Annotated[str, typer.Argument(metavar="ID", help="The endpoint, whk_….", show_default=False)]
ENDS = (Event.SESSION_COMPLETED, Event.SESSION_FAILED)


@app.command()
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where events are POSTed to.", show_default=False)],
    event: Annotated[
        list[Event] | None, typer.Option(help="What it is told of; repeat it.  [default: the ends of sessions]")
    ] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="A note of your own.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Create an endpoint and print the secret that events are signed with, once."""
    from driftstack_cli import sessions, webhooks

    events = list(dict.fromkeys(event or ENDS))
    with sessions.api(os.environ, "Creating a webhook endpoint") as (api, _):
        made = webhooks.create(api, url, events, description)
    emit(output, made, lambda: str(made["secret"]))
    say(f"Endpoint {made['id']}: its secret is shown only now.")


@app.command("list")
def list_(output: Output = Format.TABLE) -> None:
    """List endpoints, the newest first, disabled ones included."""
    from driftstack_cli import sessions, webhooks

    with sessions.api(os.environ, "Listing webhook endpoints") as (api, _):
        found = webhooks.get_all(api)
    if not found["data"] and output is Format.TABLE:
        say("No webhook endpoints; `driftstack webhook create URL` makes one.")
        return
    emit(output, found, lambda: webhooks.table(found["data"]))


@app.command()
def show(webhook: WebhookId, output: Output = Format.TABLE) -> None:
    """Show an endpoint."""
    from driftstack_cli import sessions, webhooks

    with sessions.api(os.environ, f"Reading {webhook}") as (api, _):
        found = webhooks.get(api, webhook)
    emit(output, found, lambda: webhooks.describe(found))


@app.command("test")
def send_test(webhook: WebhookId, output: Output = Format.TABLE) -> None:
    """Have a test event sent, and print the id of its delivery."""
    from driftstack_cli import sessions, webhooks

    with sessions.api(os.environ, f"Testing {webhook}") as (api, _):
        sent = webhooks.send_test(api, webhook)
    emit(output, sent, lambda: sent["delivery_id"])
    if output is Format.TABLE:
        say(f"What became of it: driftstack webhook deliveries {webhook} --limit 1")


@app.command()
def rotate(webhook: WebhookId, output: Output = Format.TABLE) -> None:
    """Create a new secret and print it; for 24 hours the old one signs as well."""
    from driftstack_cli import sessions, webhooks

    with sessions.api(os.environ, f"Rotating the secret of {webhook}") as (api, _):
        rotated = webhooks.rotate(api, webhook)
    emit(output, rotated, lambda: rotated["secret"])
    say("It is shown only now. Give it to your receivers within 24 hours: until then both secrets sign.")


@app.command()
def delete(
    webhook: Annotated[list[str], typer.Argument(metavar="ID...", help="Endpoints, whk_….", show_default=False)],
    output: Output = Format.TABLE,
) -> None:
    """Disable endpoints for good; what has not arrived is given up. Repeating it is fine."""
    from driftstack_cli import sessions, webhooks

    for one in webhook:
        with sessions.api(os.environ, f"Deleting {one}") as (api, _):
            webhooks.delete(api, one)
    emit(output, {"deleted": webhook}, lambda: "\n".join(f"webhook {one} deleted" for one in webhook))


@app.command()
def deliveries(
    webhook: WebhookId,
    status: Annotated[DeliveryStatus | None, typer.Option(help="Only those that are so.")] = None,
    limit: Limit = 50,
    all_: All = False,
    cursor: Cursor = None,
    output: Output = Format.TABLE,
) -> None:
    """List what was or will be sent to an endpoint, the newest first."""
    from driftstack_cli import sessions, webhooks

    with sessions.api(os.environ, f"Listing deliveries to {webhook}") as (api, _):
        page = webhooks.deliveries(api, webhook, status, None if all_ else limit, cursor)
    if not page["data"] and output is Format.TABLE:
        say("No deliveries; `driftstack webhook test ID` makes one.")
        return
    emit(output, page, lambda: webhooks.table_of_deliveries(page["data"]))
    if page["has_more"] and output is Format.TABLE:
        say(f"There are more: --all, or --cursor {page['next_cursor']}")


@app.command()
def replay(
    delivery: Annotated[list[str], typer.Argument(metavar="ID...", help="Deliveries, wdl_….", show_default=False)],
    output: Output = Format.TABLE,
) -> None:
    """Send deliveries anew, from the first attempt on, with the same event ids."""
    from driftstack_cli import sessions, webhooks

    replayed = []
    for one in delivery:
        with sessions.api(os.environ, f"Replaying {one}") as (api, _):
            replayed.append(webhooks.replay(api, one))
    emit(output, {"data": replayed}, lambda: "\n".join(f"delivery {one} is pending" for one in delivery))
