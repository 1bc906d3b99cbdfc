#!/usr/bin/env python3
"""Assembles the root file system of an image out of a build stage.

A plain install carries apt, perl, LLVM and the locales, a gigabyte in all. Here only what a list
names is copied, together with the shared libraries it is linked with, the copyright notice of every
package that gave a file, and the record that vulnerability scanners read.

Usage: rootfs.py --user NAME --to FOLDER LIST...

Runs inside the build stage as root, on the standard library alone.
"""

import argparse
import fnmatch
import glob
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

UID = 1000
"""The user of every image; no name outside the image refers to it."""

TOP_LINKS = ("bin", "lib", "lib64", "sbin")
MOUNT_POINTS = ("proc", "sys", "dev", "run", "tmp", "var/tmp")


def selected(lists: Iterable[Path]) -> set[Path]:
    """Returns the files and links that the lists name, in the order of their lines.

    Raises:
        SystemExit: A line matches nothing, so the list no longer fits the packages.
    """
    chosen: set[Path] = set()
    for line in (line.strip() for path in lists for line in path.read_text().splitlines()):
        if line.startswith("!"):
            matched = {path for path in chosen if fnmatch.fnmatch(str(path), line[1:])}
            chosen -= matched
        elif line and not line.startswith("#"):
            matched = {Path(found) for found in glob.glob(line, recursive=True)}
            chosen |= {path for path in matched if path.is_symlink() or path.is_file()}
        else:
            continue
        if not matched:
            sys.exit(f"rootfs.py: nothing matches {line!r}")
    return chosen


def with_targets(paths: Iterable[Path]) -> set[Path]:
    """Returns the paths and every file that a symbolic link among them leads to."""
    result: set[Path] = set()
    for path in paths:
        current = canonical(path)
        while current not in result:
            result.add(current)
            if current.is_symlink():
                current = canonical(current.parent / os.readlink(current))
    return {path for path in result if path.is_symlink() or path.is_file()}


def canonical(path: Path) -> Path:
    """Returns the path with its folders resolved and its last part kept, so a link stays a link."""
    return Path(os.path.realpath(path.parent)) / path.name


def is_elf(path: Path) -> bool:
    """Tells whether a file is a program or a shared library."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def linked_libraries(paths: Iterable[Path]) -> set[Path]:
    """Returns the shared libraries that the programs among the paths are linked with.

    Raises:
        SystemExit: A library is missing.
    """
    programs = sorted(str(path) for path in paths if not path.is_symlink() and is_elf(path))
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    if "not found" in listed:
        sys.exit(f"rootfs.py: a shared library is missing\n{listed}")
    return {Path(found) for found in re.findall(r"(?:=> |^\t)(/\S+) \(0x", listed, re.MULTILINE)}


def copy(paths: Iterable[Path], destination: Path) -> None:
    """Copies files and links with their times, and makes the links of a merged /usr."""
    for name in TOP_LINKS:
        if Path("/", name).is_symlink():
            (destination / name).symlink_to(os.readlink(Path("/", name)))
    for path in sorted(paths):
        target = destination / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)
    # Fontconfig trusts its cache only while the folders keep the time it saw.
    for folder in sorted({parent for path in paths for parent in path.parents}):
        if (destination / folder.relative_to("/")).is_dir():
            shutil.copystat(folder, destination / folder.relative_to("/"))


def owners(paths: Iterable[Path]) -> set[str]:
    """Returns the Debian packages that the files came from."""
    # dpkg knows files by the path in their package, which for /usr/lib may be /lib.
    names = {str(path) for path in paths}
    names |= {name.removeprefix("/usr") for name in names if name.startswith("/usr/")}
    found = subprocess.run(["dpkg-query", "--search", *sorted(names)], capture_output=True, text=True, check=False)
    return {name for line in found.stdout.splitlines() for name in packages_of(line)}


def packages_of(line: str) -> Iterator[str]:
    """Yields the packages in one answer of ``dpkg-query --search``."""
    if not line.startswith("diversion "):
        yield from line.rpartition(": ")[0].split(", ")


def record(packages: Iterable[str], destination: Path) -> None:
    """Writes which package versions are in the image, their notices and their status records."""
    status = destination / "var/lib/dpkg/status.d"
    status.mkdir(parents=True)
    lines = []
    for package in sorted(packages):
        entry = query(package, "--status")
        version = re.search(r"^Version: (.+)$", entry, re.MULTILINE)
        name = package.partition(":")[0]
        lines.append(f"{name}={version[1] if version else 'unknown'}\n")
        (status / name).write_text(entry)
        notice = Path("/usr/share/doc", name, "copyright")
        if notice.exists():
            target = destination / notice.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(notice.resolve(), target)
    listing = destination / "etc/driftstack/packages.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("".join(lines))


def query(package: str, option: str) -> str:
    """Returns what dpkg-query says about a package."""
    return subprocess.run(["dpkg-query", option, package], capture_output=True, text=True, check=True).stdout


def add_system_files(user: str, destination: Path) -> None:
    """Writes the user database, name resolution and the folders that a runtime mounts over."""
    etc = destination / "etc"
    etc.mkdir(exist_ok=True)
    (etc / "passwd").write_text(
        f"root:x:0:0:root:/:/sbin/nologin\n{user}:x:{UID}:{UID}::/tmp:/sbin/nologin\n"
        "nobody:x:65534:65534::/:/sbin/nologin\n"
    )
    (etc / "group").write_text(f"root:x:0:\n{user}:x:{UID}:\nnogroup:x:65534:\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    for name in MOUNT_POINTS:
        folder = destination / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777 if name.endswith("tmp") else 0o755)


def main() -> None:
    """Assembles one root file system."""
    parser = argparse.ArgumentParser(description="Assemble the root file system of an image.")
    parser.add_argument("--user", required=True)
    parser.add_argument("--to", required=True, type=Path)
    parser.add_argument("lists", nargs="+", type=Path)
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True)
    paths = with_targets(selected(arguments.lists))
    paths |= with_targets(linked_libraries(paths))
    copy(paths, arguments.to)
    # Without its cache the loader looks for every library in some twenty folders.
    subprocess.run(["ldconfig", "-r", str(arguments.to)], check=True)
    record(owners(paths), arguments.to)
    add_system_files(arguments.user, arguments.to)


if __name__ == "__main__":
    main()
