"""Sessions by REST: create, follow, drive, end."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from driftstack_cli.choices import Captured, Goal, WaitUntil
from driftstack_cli.durations import age, local, utcnow
from driftstack_cli.errors import CliError, ExitCode
from driftstack_cli.output import Table, facts
from driftstack_cli.progress import Waiting, waiting
from driftstack_cli.rest import ANSWER_SECONDS, Api, path
from driftstack_cli.settings import facade
from driftstack_common.times import parse_time

Session = dict[str, Any]

SERVER_WAIT: Final = 30
"""Most seconds that a create waits at the server."""
_ENDED: Final = ("destroyed", "errored")
_POLLS: Final = (0.1, 1.0)
"""Seconds between looks, at first and at most."""


@contextmanager
def api(environment: Any, title: str) -> Iterator[tuple[Api, Waiting]]:
    """Talk to the facade that the environment names, telling of the wait."""
    with Api(facade(environment)) as made, waiting(title) as wait:
        yield made, wait


def create(api: Api, body: Session, idempotency_key: str | None, wait: timedelta | None) -> Session:
    """Create a session; with `wait`, let the server answer once it is ready, or after a while."""
    headers = {}
    if idempotency_key is not None:
        headers["Idempotency-Key"] = idempotency_key
    held = 0
    if wait is not None:
        held = min(SERVER_WAIT, int(wait.total_seconds()))
        headers["Prefer"] = f"wait={held}"
    created: Session = api.post(path("sessions"), body, seconds=ANSWER_SECONDS + held, headers=headers)
    return created


def get(api: Api, session: str) -> Session:
    """Return a session, also after its end."""
    found: Session = api.get(path("sessions", session))
    return found


def follow(api: Api, session: str, goal: Goal, timeout: timedelta, wait: Waiting) -> Session:
    """Return the session once it is what the goal says; outages that pass are waited out.

    Raises:
        CliError: it ended before it was ready, it errored, or not in time.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    pause = _POLLS[0]
    while True:
        try:
            seen = get(api, session)
        except CliError as error:
            if error.retry_after is None or time.monotonic() >= deadline:
                raise
            wait.detail, pause = str(error), error.retry_after
        else:
            if _reached(seen, goal):
                return seen
            wait.detail = seen["status"]
        left = deadline - time.monotonic()
        if left <= 0:
            raise CliError(
                f"session {session} is not {goal} after {timeout.total_seconds():g} s",
                ExitCode.TIMEOUT,
                details=[f"It is {wait.detail}."],
                hint="It goes on by itself; --timeout waits longer, `driftstack session delete` ends it.",
            )
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _POLLS[1])


def _reached(session: Session, goal: Goal) -> bool:
    status = session["status"]
    if status == "errored":
        uid = session["id"].removeprefix("ses_")
        hint = f"Its record says why: kubectl describe bsr {uid} -n acct-…"
        raise CliError(f"session {session['id']} errored", hint=hint)
    if goal is Goal.READY and status == "destroyed":
        raise CliError(f"session {session['id']} has ended, it won't be ready", ExitCode.CONFLICT)
    return bool(status == "destroyed" if goal is Goal.ENDED else status == "ready")


def list_sessions(api: Api, limit: int | None, cursor: str | None) -> Session:
    """Return up to `limit` sessions (None: all), newest first, as one page with what is left."""
    return api.pages(path("sessions"), limit, cursor)


def navigate(api: Api, session: str, url: str, wait_until: WaitUntil, timeout: timedelta) -> Session:
    """Load a page; return where it went."""
    milliseconds = int(timeout.total_seconds() * 1000)
    body = {"url": url, "wait_until": wait_until.value, "timeout_ms": milliseconds}
    answer: Session = api.post(path("sessions", session, "navigate"), body, seconds=timeout.total_seconds() + 20)
    return answer


def capture(api: Api, session: str, kind: Captured, full_page: bool) -> tuple[bytes, Session]:
    """Return a capture of the page, and what else the answer says."""
    body = {"kind": kind.value, "full_page": full_page}
    answer = api.post(path("sessions", session, "capture"), body, seconds=60)
    return base64.b64decode(answer.pop("data")), answer


def connect(api: Api, session: str) -> Session:
    """Return a URL that opens the session's DevTools for a minute, and until when."""
    answer: Session = api.post(path("sessions", session, "connect"), None)
    return answer


def delete(api: Api, session: str, timeout: timedelta, wait: Waiting) -> None:
    """End a session and wait until it has gone; repeating it is safe, so outages that pass are waited out."""
    deadline = time.monotonic() + timeout.total_seconds()
    while True:
        try:
            api.delete(path("sessions", session))
            return
        except CliError as error:
            if error.retry_after is None or time.monotonic() + error.retry_after >= deadline:
                raise
            wait.detail = str(error)
            time.sleep(error.retry_after)


def table(sessions: list[Session]) -> Table:
    """Return sessions for people, a row each."""
    columns = ("ID", "STATUS", "ARCHETYPE", "LABEL", "AGE", "LASTED")
    return Table(columns, [_row(session) for session in sessions], elastic=("LABEL", "ARCHETYPE"))


def describe(session: Session) -> str:
    """Return one session for people."""
    pairs = [
        ("Id", session["id"]),
        ("Status", session["status"]),
        ("Archetype", session["archetype"]),
        ("Label", session["label"] or "-"),
        *((f"Metadata {name}", str(value)) for name, value in (session["metadata"] or {}).items()),
        ("API key", session["api_key_id"]),
        ("Created", _when(session["created_at"])),
    ]
    if session["last_state_at"]:
        pairs.append((session["status"].capitalize(), _when(session["last_state_at"])))
    return facts(pairs)


def _row(session: Session) -> tuple[str, ...]:
    created, ended = parse_time(session["created_at"]), session["destroyed_at"]
    return (
        session["id"],
        session["status"],
        session["archetype"],
        session["label"] or "",
        age(created, utcnow()),
        age(created, parse_time(ended)) if ended else "",
    )


def _when(text: str) -> str:
    moment = parse_time(text)
    return f"{local(moment)} ({age(moment, utcnow())} ago)"
