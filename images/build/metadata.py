#!/usr/bin/env python3
"""Lets importlib.metadata answer for our code, which is copied and not installed.

Usage: metadata.py VERSION FOLDER
"""

import sys
from pathlib import Path


def main(version: str, folder: Path) -> None:
    """Writes the distribution's metadata beside its packages."""
    target = folder / f"driftstack-{version}.dist-info"
    target.mkdir()
    (target / "METADATA").write_text(f"Metadata-Version: 2.1\nName: driftstack\nVersion: {version}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
