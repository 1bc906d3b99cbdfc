"""ApiKey: what a bearer key may do; never the key itself."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from driftstack_common.kinds.meta import Kind, Model, Resource
from driftstack_common.names import ANNOTATION_ID


class ApiKeySpec(Model, frozen=True, kw_only=True):
    """A key as it is stored.

    Attributes:
        name: what its owner calls it.
        scopes: e.g. `read`, `write`, `read:sessions`.
        key_prefix: the first characters, for people.
        sha256: lower-case hex SHA-256 of the whole key; 256 random bits need no slow hash.
        revoked_at: when it was revoked; the operator writes it down when nobody else did.
        replaced_by: name of the ApiKey that a rotation made in its place.
    """

    name: str
    scopes: list[str]
    sha256: str
    key_prefix: str = ""
    expires_at: datetime | None = None
    revoked: bool = False
    revoked_at: datetime | None = None
    replaced_by: str | None = None


class ApiKeyStatus(Model, frozen=True, kw_only=True):
    """What became of it: when it was last used, to the minute."""

    last_used_at: datetime | None = None


class ApiKey(Resource, frozen=True, kw_only=True):
    """An ApiKey object, in the namespace of its account."""

    KIND: ClassVar[Kind] = Kind("ApiKey", "apikeys")
    spec: ApiKeySpec
    status: ApiKeyStatus = ApiKeyStatus()

    @property
    def id(self) -> str:
        """The public id, `key_<uuid>`."""
        return self.metadata.annotations.get(ANNOTATION_ID) or f"key_{self.metadata.uid}"
