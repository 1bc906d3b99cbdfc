"""Webhook endpoints and their deliveries, by REST."""

from __future__ import annotations

from typing import Any

from driftstack_cli.choices import DeliveryStatus, Event
from driftstack_cli.durations import age, local, utcnow
from driftstack_cli.output import Table, facts
from driftstack_cli.rest import Api, path
from driftstack_common.times import parse_time

Webhook = dict[str, Any]
Delivery = dict[str, Any]


def create(api: Api, url: str, events: list[Event], description: str | None) -> Webhook:
    """Make an endpoint; the answer has its secret."""
    body = {"url": url, "events": [event.value for event in events], "description": description}
    made: Webhook = api.post(path("webhooks"), body)
    return made


def get_all(api: Api) -> Webhook:
    """Return all endpoints, newest first."""
    found: Webhook = api.get(path("webhooks"))
    return found


def get(api: Api, webhook: str) -> Webhook:
    """Return an endpoint."""
    found: Webhook = api.get(path("webhooks", webhook))
    return found


def send_test(api: Api, webhook: str) -> dict[str, str]:
    """Have a test event sent; return what it and its delivery are called."""
    sent: dict[str, str] = api.post(path("webhooks", webhook, "test"), {})
    return sent


def rotate(api: Api, webhook: str) -> dict[str, str]:
    """Make a new secret; return it."""
    rotated: dict[str, str] = api.post(path("webhooks", webhook, "rotate-secret"), {})
    return rotated


def delete(api: Api, webhook: str) -> None:
    """Disable an endpoint for good."""
    api.delete(path("webhooks", webhook))


def deliveries(
    api: Api, webhook: str, status: DeliveryStatus | None, limit: int | None, cursor: str | None
) -> Delivery:
    """Return up to `limit` deliveries (None: all), newest first, as one page with what is left."""
    query = {"status": status.value} if status is not None else {}
    return api.pages(path("webhooks", webhook, "deliveries"), limit, cursor, **query)


def replay(api: Api, delivery: str) -> Delivery:
    """Have a delivery sent anew; return it."""
    replayed: Delivery = api.post(path("webhook-deliveries", delivery, "replay"), {})
    return replayed


def table(webhooks: list[Webhook]) -> Table:
    """Return endpoints for people, a row each."""
    columns = ("ID", "URL", "EVENTS", "STATE", "DELIVERED", "DLQ", "AGE")
    return Table(columns, [_row(one) for one in webhooks], elastic=("URL", "EVENTS"))


def describe(webhook: Webhook) -> str:
    """Return an endpoint for people."""
    counts = webhook["delivery_counts"]
    pairs = [
        ("Id", webhook["id"]),
        ("URL", webhook["url"]),
        ("Events", ", ".join(webhook["events"])),
        ("Description", webhook["description"] or "-"),
        ("State", state(webhook)),
        ("Secret", f"{webhook['secret_prefix']}…"),
        ("Delivered", str(counts["delivered"])),
        ("Failed attempts", str(counts["failed"])),
        ("Given up", f"{counts['dlq']} ({webhook['consecutive_failures']} in a row)"),
        ("Last success", _when(webhook["last_success_at"])),
        ("Last failure", _when(webhook["last_failure_at"])),
        ("Created", _when(webhook["created_at"])),
    ]
    if webhook["rotation_grace_expires_at"]:
        old = f"{webhook['prev_secret_prefix']}… until {local(parse_time(webhook['rotation_grace_expires_at']))}"
        pairs.insert(6, ("Old secret", old))
    return facts(pairs)


def state(webhook: Webhook) -> str:
    """Return active, paused or disabled."""
    if webhook["disabled_at"]:
        return "disabled"
    return "active" if webhook["active"] else "paused"


def table_of_deliveries(found: list[Delivery]) -> Table:
    """Return deliveries for people, a row each."""
    columns = ("ID", "EVENT", "STATUS", "ATTEMPTS", "HTTP", "WHY", "AGE")
    rows = [
        (
            one["id"],
            one["event_type"],
            one["status"],
            str(one["attempts"]),
            str(one["last_response_status"] or ""),
            one["last_error"] or "",
            age(parse_time(one["created_at"]), utcnow()),
        )
        for one in found
    ]
    return Table(columns, rows, elastic=("WHY", "EVENT"))


def _row(webhook: Webhook) -> tuple[str, ...]:
    return (
        webhook["id"],
        webhook["url"],
        ",".join(webhook["events"]),
        state(webhook),
        str(webhook["delivery_counts"]["delivered"]),
        str(webhook["delivery_counts"]["dlq"]),
        age(parse_time(webhook["created_at"]), utcnow()),
    )


def _when(text: str | None) -> str:
    if text is None:
        return "never"
    moment = parse_time(text)
    return f"{local(moment)} ({age(moment, utcnow())} ago)"
