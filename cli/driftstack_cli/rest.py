"""The REST API: one call after another, and its problems as what they mean to a user."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

import httpx2

from driftstack_cli.errors import CliError, ExitCode
from driftstack_cli.settings import KEY, URL, Facade

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 30.0
"""Longest wait for an answer that waits for nothing itself."""
PAGE: Final = 100
"""Most entries that one call lists."""
DISTRIBUTION: Final = "driftstack"

_BY_STATUS: Final = {
    400: ExitCode.USAGE,
    401: ExitCode.NOT_ALLOWED,
    403: ExitCode.NOT_ALLOWED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    410: ExitCode.CONFLICT,
    413: ExitCode.LIMIT,
    429: ExitCode.LIMIT,
    503: ExitCode.UNAVAILABLE,
    504: ExitCode.TIMEOUT,
}
_HINTS: Final = {
    "unauthorized": f"Is {KEY} a whole key (ds_live_…)?",
    "invalid-key": f"Is {KEY} a key of this installation? `driftstack key create` makes one.",
    "revoked-key": "`driftstack key create` makes a new one.",
    "expired-key": "`driftstack key create` makes a new one.",
    "forbidden": "`driftstack key list` shows the scopes, `driftstack account show` a suspension.",
    "not-found": "`driftstack session list` and `driftstack webhook list` show what this account has.",
    "concurrency-limit": "End one: `driftstack session list`, then `driftstack session delete ID`.",
    "session-destroyed": "`driftstack session create` starts another.",
}


class Api:
    """Calls of one account. A context manager.

    Every method raises CliError: for a problem that was answered, or when nothing was.
    """

    def __init__(self, facade: Facade) -> None:
        self._url = facade.url
        headers = {
            "Authorization": f"Bearer {facade.key}",
            "User-Agent": f"driftstack-cli/{version(DISTRIBUTION)}",
        }
        self._client = httpx2.Client(base_url=facade.url, headers=headers)

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **query: str | int) -> Any:
        """Read something."""
        return self._call("GET", path, params=query)

    def pages(self, path: str, limit: int | None, cursor: str | None, **query: str | int) -> dict[str, Any]:
        """Return up to `limit` entries of a list (None: all) as one page with what is left."""
        data: list[Any] = []
        while True:
            asked = PAGE if limit is None else min(PAGE, limit - len(data))
            after = {"cursor": cursor} if cursor else {}
            page = self.get(path, limit=asked, **after, **query)
            data += page["data"]
            cursor = page["next_cursor"]
            if not cursor or (limit is not None and len(data) >= limit):
                return {"data": data, "has_more": bool(cursor), "next_cursor": cursor}

    def post(
        self, path: str, body: Any, *, seconds: float = ANSWER_SECONDS, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Create or do something; `seconds` is how long the answer may take."""
        return self._call("POST", path, json=body, headers=headers, seconds=seconds)

    def delete(self, path: str) -> None:
        """End something."""
        self._call("DELETE", path)

    def _call(self, method: str, path: str, *, seconds: float = ANSWER_SECONDS, **more: Any) -> Any:
        timeout = httpx2.Timeout(seconds, connect=CONNECT_SECONDS)
        try:
            answer = self._client.request(method, path, timeout=timeout, **more)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise self._unreachable(error) from error
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise self._lost(method, error) from error
        if answer.is_success:
            return self._content(answer)
        raise self._refusal(answer)

    def _content(self, answer: httpx2.Response) -> Any:
        if answer.status_code == 204:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise self._stranger(answer) from error

    def _refusal(self, answer: httpx2.Response) -> CliError:
        try:
            problem = answer.json()
            slug = problem["type"].rpartition("/")[2]
            detail, title = problem["detail"], problem["title"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return self._stranger(answer)
        wait = answer.headers.get("Retry-After", "")
        retry_after = float(wait) if wait.isdigit() else None
        hints = [_HINTS.get(slug, "")]
        if retry_after is not None:
            hints.append(f"Try again in {retry_after:.0f} s.")
        elif slug == "internal":
            hints.append(f"The server's log tells more of request {problem.get('instance')}.")
        return CliError(
            f"{title}: {detail}",
            _BY_STATUS.get(answer.status_code, ExitCode.FAILED),
            details=[f"{issue['path']}: {issue['message']}" for issue in problem.get("issues", [])],
            hint=" ".join(hint for hint in hints if hint),
            retry_after=retry_after,
        )

    def _stranger(self, answer: httpx2.Response) -> CliError:
        """Return the error for an answer that isn't the facade's."""
        code = ExitCode.UNAVAILABLE
        moved = answer.headers.get("Location")
        told = f"{answer.status_code}, {answer.headers.get('Content-Type', 'no content type')}"
        where = f"It sends to {moved}: is that the address?" if moved else f"Is {URL} right?"
        return CliError(f"what answers at {self._url} is no Driftstack REST API ({told})", code, hint=where)

    def _unreachable(self, error: Exception) -> CliError:
        hint = f"Is {URL} right, and does the facade run (kubectl -n driftstack-system get pods)?"
        return CliError(
            f"nothing answers at {self._url}",
            ExitCode.UNAVAILABLE,
            details=[str(error) or repr(error)],
            hint=hint,
            retry_after=1.0,
        )

    def _lost(self, method: str, error: Exception) -> CliError:
        hint = "Repeating it is safe." if method in ("GET", "DELETE") else "It may have been done all the same."
        timed_out = isinstance(error, httpx2.TimeoutException)
        return CliError(
            f"no answer from {self._url} {'in time' if timed_out else '(the connection broke)'}",
            ExitCode.TIMEOUT if timed_out else ExitCode.UNAVAILABLE,
            details=[str(error) or repr(error)],
            hint=hint,
            retry_after=1.0 if method in ("GET", "DELETE") else None,
        )


def path(*parts: str) -> str:
    """Return the path below `/v1` of these parts, each of them one segment whatever is in it."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)
