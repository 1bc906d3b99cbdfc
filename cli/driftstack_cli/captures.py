"""Where captures go: a file of its own, and none is overwritten by mistake."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from driftstack_cli.choices import Captured
from driftstack_cli.errors import CliError, ExitCode

ENDINGS: Final = {Captured.SCREENSHOT: ".png", Captured.PDF: ".pdf", Captured.DOM_SNAPSHOT: ".json"}
_KINDS: Final = {ending: kind for kind, ending in ENDINGS.items()}


class Plan(NamedTuple):
    """What to capture, and the file for it; None is stdout."""

    kind: Captured
    file: Path | None


def plan(session: str, file: Path | None, kind: Captured | None, force: bool, terminal: bool) -> Plan:
    """Decide what to capture and where to, before anything is done.

    Args:
        terminal: whether stdout is one.

    Raises:
        CliError: the file exists, or can't be there, or a terminal would get a picture.
    """
    chosen = kind or (_KINDS.get(file.suffix.lower()) if file else None) or Captured.SCREENSHOT
    if file == Path("-"):
        if terminal and chosen is not Captured.DOM_SNAPSHOT:
            raise CliError(
                f"a {chosen} is nothing for a terminal", ExitCode.USAGE, hint="Redirect it, or name a file."
            )
        return Plan(chosen, None)
    target = file or Path(re.sub(r"[^A-Za-z0-9_-]", "_", session) + ENDINGS[chosen])
    if target.is_dir():
        raise CliError(f"{target} is a folder", ExitCode.USAGE)
    if not target.parent.is_dir():
        raise CliError(f"there is no folder {target.parent}", ExitCode.USAGE)
    if target.exists() and not force:
        raise _exists(target)
    return Plan(chosen, target)


def save(file: Path, data: bytes, force: bool) -> None:
    """Write the file, whole or not at all.

    Raises:
        CliError: it can't be written, or has come into being meanwhile.
    """
    target = file.resolve()  # what a link leads to
    try:
        if target.exists() and force and not target.is_file():  # a device or a pipe is written to, not replaced
            target.write_bytes(data)
            return
        created = not target.exists()
        with target.open("ab" if force else "xb"):  # from here on nobody else makes it
            _fill(target, data, created)
    except FileExistsError as error:
        raise _exists(file) from error
    except OSError as error:
        raise CliError(f"{file} can't be written: {error.strerror or error}") from error


def _fill(target: Path, data: bytes, created: bool) -> None:
    part: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        part = Path(name)
        with os.fdopen(handle, "wb") as writing:
            writing.write(data)
        shutil.copymode(target, part)
        part.replace(target)
    except BaseException:
        for left in (part, target if created else None):
            if left is not None:
                left.unlink(missing_ok=True)
        raise


def _exists(file: Path) -> CliError:
    return CliError(f"{file} exists", ExitCode.CONFLICT, hint="Name another file, or add --force.")
