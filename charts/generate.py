# ruff: noqa: INP001 - a script, no package
"""Copy the CRDs into the chart: `crds/` at the root of the repository is their source of truth.

`python charts/generate.py` writes the copies, `--check` only says whether they are up to date (exit code 1 if not).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "crds"
COPY: Final = ROOT / "charts" / "driftstack" / "crds"


def stale(source: Path = SOURCE, copy: Path = COPY) -> list[str]:
    """Return the names of files that are missing from the copy, differ in it, or should not be there."""
    wanted = {path.name: path.read_bytes() for path in source.glob("*.yaml")}
    found = {path.name: path.read_bytes() for path in copy.glob("*")}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def generate(source: Path = SOURCE, copy: Path = COPY) -> list[str]:
    """Make the copy equal to the source; return the names of files that changed."""
    changed = stale(source, copy)
    copy.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if (source / name).exists():
            (copy / name).write_bytes((source / name).read_bytes())
        else:
            (copy / name).unlink()
    return changed


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    if arguments not in ([], ["--check"]):
        print(f"{__doc__}\nunknown arguments: {' '.join(arguments)}", file=sys.stderr)
        return 2
    check = bool(arguments)
    names = stale() if check else generate()
    for name in names:
        print(f"charts/driftstack/crds/{name} {'is not up to date: run make generate' if check else 'written'}")
    return 1 if check and names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
