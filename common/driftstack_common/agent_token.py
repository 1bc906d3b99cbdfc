"""Key rings, and the agent's bearer token: an HMAC of its pod's name under a key that operator and facade hold.

Nothing per pod is stored: whoever holds the key ring makes the token again from the pod's name and the id of the
key, which the session's status names. A ring has several keys, so that they can be rotated.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from driftstack_common.errors import SettingsError


class KeyRing:
    """The keys of a mounted Secret, newest (alphabetically last file name) first in use.

    Args:
        keys: key material by name, e.g. `{"2026-11-24": b"…"}`; at least 32 bytes each.
    """

    def __init__(self, keys: dict[str, bytes]) -> None:
        if not keys:
            raise SettingsError("a key ring is empty: its Secret needs at least one key")
        for name, key in keys.items():
            if len(key) < 32:
                raise SettingsError(f"key {name!r} is shorter than 32 bytes")
        self._keys = dict(keys)
        self.current = max(keys)

    @classmethod
    def load(cls, folder: Path) -> KeyRing:
        """Read every regular file of a mounted Secret (its hidden ones are Kubernetes' own links)."""
        try:
            files = [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file()]
            return cls({path.name: path.read_bytes().strip() for path in files})
        except OSError as error:
            raise SettingsError(f"cannot read the keys in {folder}: {error}") from error

    def token(self, subject: str, key: str | None = None) -> str:
        """Return the HMAC of a subject (an agent's is its pod's name) under the named or the current key, in hex.

        Raises:
            KeyError: the named key is no longer in the ring.
        """
        return hmac.new(self._keys[key or self.current], subject.encode(), hashlib.sha256).hexdigest()
