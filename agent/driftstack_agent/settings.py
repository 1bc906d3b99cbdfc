"""The agent's settings, from its environment.

Read before Chromium starts, so this module (like everything `__main__` imports first) takes nothing but the
standard library's light parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

PREFIX: Final = "DRIFTSTACK_AGENT_"
TOKEN: Final = f"{PREFIX}TOKEN"
"""Environment variable of the bearer token; the agent reads it once and overwrites it (hardening)."""
TOKEN_LEAST: Final = 32
"""Least characters of a token; the key ring's are 64."""


class InvalidSettings(ValueError):
    """A setting can't work; the message says which and what to do."""


class Settings(NamedTuple):
    """What can be set, by the environment variables `DRIFTSTACK_AGENT_<NAME>`.

    Attributes:
        token: the bearer token of every call but health.
        listen: address to listen on.
        port: TCP port; 0 lets the kernel choose (it is logged).
        chromium: path of chromium-headless-shell itself, not of Debian's shell wrapper (a process more).
        folder: where the profile folder is made; writable, memory or disk.
        termination_log: the container's termination message file.
        start_seconds: how long Chromium may take until its first page answers.
    """

    token: str
    listen: str = "0.0.0.0"
    port: int = 8300
    chromium: str = "/usr/lib/chromium/chromium-headless-shell"
    folder: str = "/tmp"  # noqa: S108 (a fresh folder, mode 0700, is made in it)
    termination_log: str = "/dev/termination-log"
    start_seconds: int = 30

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Settings:
        """Read every `DRIFTSTACK_AGENT_…` variable.

        Raises:
            InvalidSettings: one is unknown or unusable, or the token is missing.
        """
        values: dict[str, object] = {}
        for name, text in environment.items():
            if name.startswith(PREFIX):
                values[_field(name)] = _parse(name, text)
        if "token" not in values:
            raise InvalidSettings(f"{TOKEN} is missing: the pod's token, at least {TOKEN_LEAST} characters")
        return cls._make(values.get(field, cls._field_defaults.get(field)) for field in cls._fields)


def _field(name: str) -> str:
    field = name.removeprefix(PREFIX).lower()
    if field not in Settings._fields or name != name.upper():
        known = ", ".join(PREFIX + known.upper() for known in Settings._fields)
        raise InvalidSettings(f"{name} is no setting of the agent; there are {known}")
    return field


def _parse(name: str, text: str) -> str | int:
    field = _field(name)
    if field == "token" and (len(text) < TOKEN_LEAST or not text.isascii() or not text.isprintable()):
        raise InvalidSettings(f"{TOKEN} needs at least {TOKEN_LEAST} printable ASCII characters")
    if field not in ("port", "start_seconds"):
        return text
    least, most = (0, 65535) if field == "port" else (1, 600)
    if not text.isdecimal() or not least <= int(text) <= most:
        raise InvalidSettings(f"{name} must be a whole number from {least} to {most}")
    return int(text)
