"""Key rings of mounted Secrets, which are rotated while the facade runs."""

from __future__ import annotations

from pathlib import Path

from driftstack_common.agent_token import KeyRing
from driftstack_common.errors import SettingsError
from driftstack_common.logging import get_logger

_log = get_logger(__name__)


class MountedKeys:
    """A ring, and the folder that it is read from again when that changes; None never does."""

    def __init__(self, ring: KeyRing, folder: Path | None = None) -> None:
        self._ring = ring
        self._folder = folder
        self._version = _version(folder)

    @classmethod
    def load(cls, folder: Path) -> MountedKeys:
        """Read a mounted Secret; SettingsError when there are no usable keys."""
        return cls(KeyRing.load(folder), folder)

    @property
    def ring(self) -> KeyRing:
        """The keys as they are now; as they were, while they can't be read."""
        version = _version(self._folder)
        if self._folder is not None and version != self._version:
            self._version = version
            try:
                self._ring = KeyRing.load(self._folder)
            except SettingsError as error:
                _log.error("keys not reloaded", error=str(error))
        return self._ring


def _version(folder: Path | None) -> int | None:
    """When an entry of the folder was last replaced: the kubelet swaps a link in it."""
    try:
        return folder.stat().st_mtime_ns if folder else None
    except OSError:
        return None
