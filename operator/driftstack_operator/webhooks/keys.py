"""The keys that sign an endpoint's deliveries, out of the Secrets that it names."""

from __future__ import annotations

import base64
import binascii
import math
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from driftstack_common.errors import DriftstackError
from driftstack_common.kinds import ExpiringSecretRef, SecretRef, WebhookEndpoint
from driftstack_common.kube.client import SECRET, KubeClient
from driftstack_common.kube.errors import Forbidden, NotFound

REMEMBERED: Final = 30.0
"""Seconds for which what a Secret said is believed: rotations by REST make a new one, so only what a person changed
in a Secret is seen late."""
MISSED: Final = 2.0
"""Seconds for which a key that is missing is not looked for again."""
MOST: Final = 10_000
"""Keys that are remembered."""
SHORTEST: Final = 16


class NoKey(DriftstackError):
    """There is nothing to sign with.

    Attributes:
        reason: SecretMissing or SecretInvalid, for the endpoint's condition.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SigningKeys:
    """Reads Secrets.

    Args:
        kube: client to read with.
        clock: monotonic seconds.
    """

    def __init__(self, kube: KubeClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._clock = clock
        self._known: dict[tuple[str, str, str], tuple[float, str | NoKey]] = {}

    async def of(self, endpoint: WebhookEndpoint, moment: datetime) -> list[str]:
        """Return the current key, and the previous one while a rotation lasts.

        Raises:
            NoKey: the current one is missing or no good; the message says what to do.
            KubeError: it can't be read now.
        """
        namespace, spec = endpoint.metadata.namespace or "", endpoint.spec
        keys = [await self._read(namespace, spec.secret_ref)]
        previous = spec.previous_secret_ref
        if previous is not None and moment < previous.expires_at:
            try:
                keys.append(await self._read(namespace, previous))
            except NoKey:  # who removed it wants no signature by it
                return keys
        return keys

    async def _read(self, namespace: str, ref: SecretRef | ExpiringSecretRef) -> str:
        place = (namespace, ref.name, ref.key)
        at, known = self._known.get(place, (-math.inf, ""))
        if self._clock() - at >= (REMEMBERED if isinstance(known, str) else MISSED):
            try:
                known = await self._fetch(namespace, ref)
            except NoKey as error:
                known = error
            if len(self._known) > MOST:
                self._known.clear()
            self._known[place] = (self._clock(), known)
        if isinstance(known, NoKey):
            raise known
        return known

    async def _fetch(self, namespace: str, ref: SecretRef | ExpiringSecretRef) -> str:
        try:
            secret = await self._kube.get(SECRET, namespace, ref.name)
        except NotFound as error:
            raise NoKey("SecretMissing", f"create the Secret {ref.name} with the entry {ref.key}") from error
        except Forbidden as error:  # the operator binds the role right after it has made the namespace
            raise NoKey("SecretMissing", f"the Secret {ref.name} can't be read yet: {error}") from error
        return _decode(secret.get("data") or {}, ref)


def _decode(data: dict[str, str], ref: SecretRef | ExpiringSecretRef) -> str:
    if ref.key not in data:
        raise NoKey("SecretMissing", f"the Secret {ref.name} has no entry {ref.key}")
    try:
        key = base64.b64decode(data[ref.key]).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        key = ""
    if len(key) < SHORTEST or not key.isprintable() or " " in key:
        wanted = f"{SHORTEST} or more visible ASCII characters, without a line break at the end"
        raise NoKey("SecretInvalid", f"the entry {ref.key} of the Secret {ref.name} has to be {wanted}")
    return key
