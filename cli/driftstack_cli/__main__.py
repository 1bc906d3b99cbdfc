"""The entry points `driftstack` and `kubectl-driftstack`: run a command, end with a message and a code."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from driftstack_cli import output
from driftstack_cli.app import tree
from driftstack_cli.errors import CliError, ExitCode


def main() -> NoReturn:
    """Run the command of this process's arguments. Nobody sees a traceback of what is to be expected."""
    as_plugin = Path(sys.argv[0]).name.startswith("kubectl-")
    try:  # kubectl asks no plugin of this kind for completions
        tree(completion=not as_plugin)(prog_name="kubectl driftstack" if as_plugin else "driftstack")
    except CliError as error:
        output.complain(error)
        _exit(error.code)
    except output.BrokenPipe:
        _exit(ExitCode.BROKEN_PIPE)
    except KeyboardInterrupt:
        _exit(ExitCode.INTERRUPTED)
    except SystemExit as ending:
        _exit(ending.code)
    raise AssertionError("typer ends with SystemExit")


def _exit(code: int | str | None) -> NoReturn:
    # Python restores the default handler while it shuts down: a Ctrl-C just then would show a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


if __name__ == "__main__":
    main()
