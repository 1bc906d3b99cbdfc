"""Which pool a session starts from, by name. Pure."""

from __future__ import annotations

import msgspec

from driftstack_common.kinds import Archetype, Session


class Choice(msgspec.Struct, frozen=True):
    """A pool's name, and whether it was chosen by who runs the installation: those may name any pool."""

    name: str
    by_installation: bool


def choose(session: Session, archetype: Archetype | None, system_namespace: str, default: str) -> Choice:
    """Return the choice: the session's own, else its archetype's, else the installation's."""
    if session.spec.pool is not None and session.spec.pool != default:
        return Choice(session.spec.pool, by_installation=False)
    if session.spec.pool is None and archetype is not None and archetype.spec.pool is not None:
        catalogue = archetype.metadata.namespace == system_namespace
        return Choice(archetype.spec.pool, by_installation=catalogue or archetype.spec.pool == default)
    return Choice(default, by_installation=True)
