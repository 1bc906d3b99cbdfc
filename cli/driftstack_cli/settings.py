"""Where the facade is and with which key, from the environment; read by the commands that need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from driftstack_cli.errors import CliError, ExitCode

URL: Final = "DRIFTSTACK_URL"
KEY: Final = "DRIFTSTACK_API_KEY"


@dataclass(frozen=True)
class Facade:
    """The REST API to talk to, without a slash at its end, and the key, which is shown nowhere."""

    url: str
    key: str = field(repr=False)


def facade(environment: Mapping[str, str]) -> Facade:
    """Read both variables.

    Raises:
        CliError: one is missing or can't be right.
    """
    url = environment.get(URL, "").strip().rstrip("/")
    key = environment.get(KEY, "").strip()
    if not url:
        raise CliError(
            f"{URL} is not set",
            ExitCode.USAGE,
            hint=f"export {URL}=https://… (where Driftstack's REST API is)",
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CliError(f"{URL} is no http or https URL: {url}", ExitCode.USAGE)
    if not key:
        raise CliError(
            f"{KEY} is not set",
            ExitCode.NOT_ALLOWED,
            hint=f"export {KEY}=ds_live_…; `driftstack key create` makes one",
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise CliError(f"{KEY} holds characters that no key has", ExitCode.NOT_ALLOWED)
    return Facade(url, key)
