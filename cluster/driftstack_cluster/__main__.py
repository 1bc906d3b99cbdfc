"""`make up`, `make down`, `make status` and `make demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from rich.console import Console

from driftstack_cluster import command, settings
from driftstack_cluster import demo as demonstration
from driftstack_cluster.errors import ClusterError
from driftstack_cluster.progress import Progress

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
_CHECKOUT = Path(__file__).resolve().parents[2]


@app.command()
def up(
    cluster_only: bool = typer.Option(False, help="Bring up the bare cluster, without images and chart."),
) -> None:
    """Brings a cluster up with Driftstack on it (CLUSTER, NODES, EGRESS, INSTANCE, YES)."""
    command.up(settings.load(_CHECKOUT), Progress(), cluster_only=cluster_only)


@app.command()
def demo() -> None:
    """Runs the main job on the cluster that is up: two sessions, captures in demo/."""
    told = command.read_access(settings.load(_CHECKOUT))
    target = demonstration.Target(
        url=told["facade_url"],
        page=told["demo_url"],
        kubeconfig=Path(told["kubeconfig"]),
        kubectl=Path(told["kubectl"]),
        folder=_CHECKOUT,
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
        app(standalone_mode=False)
    except ClusterError as error:
        progress.error(str(error), error.hint)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        progress.error("interrupted", "Whatever is half done repairs itself: run the command again.")
        sys.exit(130)


if __name__ == "__main__":
    main()
