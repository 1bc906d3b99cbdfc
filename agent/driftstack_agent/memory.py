"""Whether the kernel killed something in this container because its memory was used up.

With control groups v2 Kubernetes has the whole container killed, agent included. With v1 the kernel picks one
process: a renderer, and the page is lost as by any crash, or Chromium itself. Only the group's counter tells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
_FILES: Final = ("memory.events", "memory/memory.oom_control")
"""Of v2 and of v1; a container sees its own group at the root of either."""


class OomKills:
    """Compares the counter with what it was at construction."""

    def __init__(self, root: Path = CGROUPS) -> None:
        self._root = root
        self._before = self._count()

    @property
    def any(self) -> bool:
        """Whether a process has been killed since."""
        return self._count() > self._before

    def _count(self) -> int:
        """Return the counter; 0 where no file has it: then a kill looks like a crash."""
        for name in _FILES:
            try:
                text = (self._root / name).read_text()
            except OSError:
                continue
            fields = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
            return int(fields.get("oom_kill", "0"))
        return 0
