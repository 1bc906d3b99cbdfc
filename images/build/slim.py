#!/usr/bin/env python3
"""Takes out of installed Python packages what a running service never opens.

Usage: slim.py FOLDER

The Kubernetes client is most of it: 75 MB of generated code, a class for each resource of each API
version, synchronous and asynchronous. Our code speaks in plain dicts, so of the generated classes stay
only those that the modules below name, and what these import in turn. The rest of the client (connections,
login, watches) is left whole. A class that is missing fails by name when it is imported.

Runs in a build stage, on the standard library alone.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

NEVER_OPENED = ("*.pyi", "*.pyx", "*.pxd", "*.pxi", "*.c", "*.h", "*.cpp", "*.dist-info/RECORD")
"""Sources of compiled parts, type stubs, and the installer's own list of files."""

NEVER_ENTERED = ("tests", "test", "_testing", "docs", "bin")

GENERATED = (
    "kubernetes/client/api",
    "kubernetes/client/models",
    "kubernetes/aio/client/api",
    "kubernetes/aio/client/models",
)

KEPT = (
    "kubernetes/client/models/v1_object_meta.py",  # kopf imports it
    "kubernetes/aio/client/api/custom_objects_api.py",
)


def slim(packages: Path) -> None:
    """Deletes the files in place and strips what is compiled."""
    for pattern in NEVER_OPENED:
        for path in packages.rglob(pattern):
            path.unlink()
    for name in NEVER_ENTERED:
        for path in [path for path in packages.rglob(name) if path.is_dir()]:
            shutil.rmtree(path)
    kept = closure(packages, [packages / name for name in KEPT if (packages / name).exists()])
    for folder in GENERATED:
        for path in (packages / folder).glob("*.py"):
            if path.name != "__init__.py" and path not in kept:
                path.unlink()
    for path in packages.rglob("*.so"):
        subprocess.run(["strip", "--strip-debug", str(path)], check=True)


def closure(packages: Path, modules: Iterable[Path]) -> set[Path]:
    """Returns the modules and the generated modules that they import, directly or not."""
    found: set[Path] = set()
    waiting = list(modules)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            names = re.findall(r"from (kubernetes\.(?:aio\.)?client\.(?:api|models)\.\w+) import", path.read_text())
            waiting += [packages / f"{name.replace('.', '/')}.py" for name in names]
    return found


if __name__ == "__main__":
    slim(Path(sys.argv[1]))
