"""`make up`, `make down`, `make status` and `make demo`."""

from __future__ import annotations

import errno
import signal
import sys
from pathlib import Path

import typer
from rich.console import Console
from typer.exceptions import TyperException

from driftstack_cluster import command, settings
from driftstack_cluster import demo as demonstration
from driftstack_cluster.errors import ClusterError
from driftstack_cluster.progress import Progress

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
_CHECKOUT = Path(__file__).resolve().parents[2]
_OS_HINTS = {
    errno.ENOSPC: "The disk is full: free some room and run the command again.",
    errno.EACCES: "Another user owns that: run the command as that user, or as root (sudo).",
    errno.EPERM: "This needs root: run the command with sudo.",
}


@app.command()
def up(
    cluster_only: bool = typer.Option(False, help="Bring up the bare cluster, without images and chart."),
) -> None:
    """Brings a cluster up with Driftstack on it (CLUSTER, NODES, EGRESS, INSTANCE, YES)."""
    command.up(settings.load(_CHECKOUT), Progress(), cluster_only=cluster_only)


@app.command()
def demo() -> None:
    """Runs the main job on the cluster that is up: two sessions, captures in demo/."""
    chosen = settings.load(_CHECKOUT)
    told = command.read_access(chosen)
    target = demonstration.Target(
        url=told["facade_url"],
        page=told["demo_url"],
        kubeconfig=Path(told["kubeconfig"]),
        kubectl=Path(told["kubectl"]),
        folder=_CHECKOUT,
        env=chosen.output / "env",
    )
    demonstration.run(target, Console())


@app.command()
def images(
    refresh: bool = typer.Option(False, help="Fetch the current Debian packages, Chromium among them."),
) -> None:
    """Builds the images that have changed."""
    command.build_images(settings.load(_CHECKOUT), Progress(), refresh=refresh)


@app.command()
def down() -> None:
    """Removes what `up` made; packages and caches stay."""
    command.down(settings.load(_CHECKOUT), Progress())


@app.command()
def status() -> None:
    """Tells what runs."""
    if not command.status(settings.load(_CHECKOUT), Progress()):
        raise typer.Exit(1)


def main() -> None:
    """Runs a command; errors come as a message and what to do, not as a traceback."""
    progress = Progress()
    try:
        # An exit code comes back as the result: nothing is raised without the stand-alone mode.
        code = app(standalone_mode=False) or 0
    except ClusterError as error:
        progress.error(str(error), error.hint)
        sys.exit(1)
    except TyperException as error:
        progress.error(str(error), "See `python -m driftstack_cluster --help`.")
        sys.exit(2)
    except OSError as error:
        # A full disk, or a file of another user: the name and the reason are in the error.
        progress.error(str(error), _OS_HINTS.get(error.errno or 0, "Correct that, and run the command again."))
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        progress.error("interrupted", "Whatever is half done repairs itself: run the command again.")
        sys.exit(130)
    # Python restores the default handler while it shuts down: a Ctrl-C just then would undo a success.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    main()
