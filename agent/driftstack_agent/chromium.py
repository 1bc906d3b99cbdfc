"""Starts Chromium: its flags, its clean environment, its two pipes.

Imports only what is light: the agent starts Chromium before it loads anything else, so that both start side by
side. Chromium's sandbox is never switched off; sandbox.py proves that it is on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Iterable
from typing import Final, NamedTuple

from driftstack_agent.addresses import own_addresses
from driftstack_agent.settings import Settings

FLAGS: Final = (
    "--remote-debugging-pipe",
    # One process and 10 MiB fewer; there is no GPU in the pod.
    "--disable-gpu",
    "--enable-features=NetworkServiceInProcess2",
    # Nothing that is not the session's own may go out to the network.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-client-side-phishing-detection",
    "--disable-sync",
    "--disable-field-trial-config",
    "--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider,"
    "InterestFeedContentSuggestions,CertificateTransparencyComponentUpdater,AutofillServerCommunication",
    "--metrics-recording-only",
    "--no-pings",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-breakpad",
    "--disable-extensions",
    # A page in no window is as awake as one in front.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-hang-monitor",
    "--disable-prompt-on-repost",
    "--password-store=basic",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--mute-audio",
)
_PIPE_BYTES: Final = 1024 * 1024
_FREE_FDS: Final = 10


class Process(NamedTuple):
    """A started Chromium: its pid, our ends of its command, event and error pipes, its profile folder."""

    pid: int
    commands: int
    events: int
    errors: int
    profile: str


def resolver_rules(addresses: Iterable[str], hostname: str) -> str:
    """Return the value of --host-resolver-rules that makes loopback and the pod itself unreachable.

    Chromium applies the rules to the canonical host, so they hold for every spelling, and for redirects, frames
    and requests of pages as well as for navigate. (urls.py refuses the same in navigate, with a clear message.)
    """
    hosts = ["127.*.*.*", "0.0.0.0", "::", "::1", "::ffff:7f*", "::ffff:0:0"]
    for name in ("localhost", "*.localhost", hostname):
        hosts += [name, f"{name}."]
    for address in sorted(addresses):
        hosts.append(address)
        if "." in address:
            a, b, c, d = (int(part) for part in address.split("."))
            hosts.append(f"::ffff:{a * 256 + b:x}:{c * 256 + d:x}")
    return ",".join(f"MAP {host} ~NOTFOUND" for host in dict.fromkeys(hosts))


def arguments(settings: Settings, profile: str) -> list[str]:
    """Return Chromium's command line."""
    rules = resolver_rules(own_addresses(), os.uname().nodename)
    return [
        settings.chromium,
        *FLAGS,
        f"--host-resolver-rules={rules}",
        f"--user-data-dir={profile}",
        "about:blank",
    ]


def environment(profile: str) -> dict[str, str]:
    """Return Chromium's whole environment: nothing of the agent's own, and no desktop bus to look for."""
    return {
        "HOME": profile,
        "XDG_CACHE_HOME": f"{profile}/cache",
        "XDG_CONFIG_HOME": f"{profile}/config",
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "DBUS_SESSION_BUS_ADDRESS": "disabled:",
        "DBUS_SYSTEM_BUS_ADDRESS": "disabled:",
    }


def spawn(settings: Settings) -> Process:
    """Start Chromium in a process group of its own; it reads commands on fd 3 and writes events to fd 4.

    Closing our end of the command pipe makes it exit.

    Raises:
        OSError: the binary or the folder is missing.
    """
    profile = os.path.join(settings.folder, f"driftstack-{os.urandom(6).hex()}")
    os.mkdir(profile, 0o700)
    command_reader, commands = _pipe()
    events, event_writer = _pipe()
    errors, error_writer = _pipe()
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        pid = os.posix_spawn(
            settings.chromium,
            arguments(settings, profile),
            environment(profile),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, error_writer, 1),
                (os.POSIX_SPAWN_DUP2, error_writer, 2),
                (os.POSIX_SPAWN_DUP2, command_reader, 3),
                (os.POSIX_SPAWN_DUP2, event_writer, 4),
            ],
            setpgroup=0,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores them, and Chromium would inherit that
        )
    finally:
        for fd in (command_reader, event_writer, error_writer, null):
            os.close(fd)
    return Process(pid, commands, events, errors, profile)


def _pipe() -> tuple[int, int]:
    """Return a pipe of 1 MiB whose ends have high numbers, so that dup2 to 3 and 4 overwrites neither."""
    ends = os.pipe()
    reader, writer = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FREE_FDS) for fd in ends)
    for fd in ends:
        os.close(fd)
    with contextlib.suppress(OSError):  # past the user's soft limit of pipe memory, 64 KiB have to do
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return reader, writer
