"""What all kinds have in common: metadata, conditions, reading and writing bodies."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, TypeVar

import msgspec

from driftstack_common.names import API_VERSION, GROUP, VERSION


class Model(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """Base of every structure that is stored in the API server; attributes are snake_case, fields camelCase.

    What comes from JSON has no cycles: thousands of copies are nothing for the garbage collector to scan.
    """


class Kind(msgspec.Struct, frozen=True):
    """Where a kind lives in the API: its group path, plural and scope."""

    name: str
    plural: str
    group: str = GROUP
    version: str = VERSION
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`group/version`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version


class Meta(Model, frozen=True, kw_only=True):
    """The part of ObjectMeta that Driftstack reads."""

    name: str
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: list[str] = []


class Condition(Model, frozen=True, kw_only=True):
    """One entry of `status.conditions`, as in the Kubernetes API conventions."""

    type: str
    status: str
    reason: str
    message: str = ""
    last_transition_time: str
    observed_generation: int | None = None


class Resource(Model, frozen=True, kw_only=True):
    """An API object of ours; subclasses add `spec` and `status` and name their KIND."""

    KIND: ClassVar[Kind]
    metadata: Meta

    @property
    def key(self) -> tuple[str, str]:
        """Namespace (empty for cluster-scoped objects) and name."""
        return self.metadata.namespace or "", self.metadata.name


R = TypeVar("R", bound=Resource)


def from_body(kind: type[R], body: Any) -> R:
    """Read an API object.

    Raises:
        msgspec.ValidationError: a field has a type that the schema in `crds/` would have refused.
    """
    return msgspec.convert(body, kind, strict=False)


def to_body(resource: Resource) -> dict[str, Any]:
    """Return the body to send: apiVersion, kind, and every field that differs from its default."""
    body: dict[str, Any] = msgspec.to_builtins(resource)
    return {"apiVersion": API_VERSION, "kind": resource.KIND.name, **body}
