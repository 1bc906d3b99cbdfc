"""CreateRequest: one Idempotency-Key, so that a repeated create finds the first session."""

from __future__ import annotations

from typing import ClassVar

from driftstack_common.kinds.meta import Kind, Model, Resource


class CreateRequestSpec(Model, frozen=True, kw_only=True):
    """Attributes: body_sha256 of the request; session_name chosen before the session is created."""

    body_sha256: str
    session_name: str


class CreateRequest(Resource, frozen=True, kw_only=True):
    """A CreateRequest object; its name is a hash of account and key; gone after 24 h."""

    KIND: ClassVar[Kind] = Kind("CreateRequest", "createrequests")
    spec: CreateRequestSpec
