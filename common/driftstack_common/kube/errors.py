"""The API server's answers as exceptions.

KubeError                 anything below, with status, reason and message
 ├─ Unreachable           no answer: refused, timed out, broken off, or not asked at all
 ├─ NotFound              404
 │   └─ KindGone          the kind itself is not served: its CRD is missing, or being deleted
 ├─ AlreadyExists         409 on create
 ├─ Conflict              409 on a write whose precondition no longer holds
 ├─ QuotaExceeded         403 from a ResourceQuota
 ├─ NamespaceTerminating  403: nothing can be created there any more
 ├─ Forbidden             any other 403
 ├─ Invalid               400 or 422: schema, admission policy, a failed `test` of a JSON patch
 └─ Expired               410: a watch or list can't go on from there
"""

from __future__ import annotations

from typing import Any

from driftstack_common.errors import DriftstackError


class KubeError(DriftstackError):
    """The API server refused, or could not be asked.

    Attributes:
        status: HTTP status, 0 without an answer.
        reason: machine-readable reason of the Status object, e.g. `AlreadyExists`.
        message: text for people.
        causes: `details.causes` of the Status object, e.g. one per wrong field.
        retry_after: seconds the server asks to wait, if it says so.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        causes: list[dict[str, Any]] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.causes = causes or []
        self.retry_after = retry_after

    @property
    def too_large(self) -> bool:
        """Whether the object is larger than the API server takes (413), or than etcd does (500, in words only)."""
        return self.status == 413 or (self.status == 500 and "too large" in self.message)


class Unreachable(KubeError):
    """No answer from the API server."""


class NotFound(KubeError):
    """The object, or its namespace, does not exist."""


class KindGone(NotFound):
    """The API server doesn't serve this kind (404), or takes no new objects of it (405 while its CRD goes)."""


class AlreadyExists(KubeError):
    """An object of that name exists."""


class Conflict(KubeError):
    """A precondition (uid, resourceVersion) no longer holds."""


class QuotaExceeded(KubeError):
    """A ResourceQuota refused a create."""

    @property
    def unknown(self) -> bool:
        """Whether the API server has not counted yet, and so refuses everything."""
        return "status unknown for quota" in self.message


class NamespaceTerminating(KubeError):
    """The namespace is being deleted and takes no new objects."""


class Forbidden(KubeError):
    """RBAC refused."""


class Invalid(KubeError):
    """The schema, an admission policy or a JSON patch's own test refused."""


class Expired(KubeError):
    """The resourceVersion is too old to list or watch from."""


def from_status(status: int, body: dict[str, Any], retry_after: float | None = None) -> KubeError:
    """Return the exception for an answer of the API server (a Status object, or whatever came)."""
    message = str(body.get("message") or f"the API server answered {status}")
    details = body.get("details") or {}
    error = _kind(status, str(body.get("reason", "")), message, details)
    return error(
        message,
        status=status,
        reason=str(body.get("reason", "")),
        causes=details.get("causes"),
        retry_after=retry_after,
    )


def _kind(status: int, reason: str, message: str, details: dict[str, Any]) -> type[KubeError]:
    if status == 403:
        return _forbidden(message, details)
    if status == 409:
        return AlreadyExists if reason == "AlreadyExists" else Conflict
    if status == 405 or (status == 404 and reason != "NotFound"):  # of a path, it answers `404 page not found`
        return KindGone
    return {400: Invalid, 404: NotFound, 410: Expired, 422: Invalid}.get(status, KubeError)


def _forbidden(message: str, details: dict[str, Any]) -> type[KubeError]:
    causes = {cause.get("reason") for cause in details.get("causes") or []}
    if "NamespaceTerminating" in causes:
        return NamespaceTerminating
    # Quota has no reason of its own; both texts come from the quota admission plugin.
    if "exceeded quota:" in message or "status unknown for quota:" in message:
        return QuotaExceeded
    # A ValidatingAdmissionPolicy with reason Forbidden speaks of itself; RBAC never says so.
    return Invalid if "ValidatingAdmissionPolicy" in message else Forbidden
