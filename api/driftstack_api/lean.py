"""What the facade keeps of sessions and records: what it answers from, not what people read with kubectl.

There are thousands of them, most of one account and one archetype: texts that repeat are kept once.
"""

from __future__ import annotations

from sys import intern

from msgspec.structs import replace

from driftstack_common.kinds import Record, Session
from driftstack_common.kinds.meta import Meta
from driftstack_common.kinds.session import Stages


def lean_session(session: Session) -> Session:
    """Return a session without its conditions and stages."""
    status = replace(session.status, message="", conditions=[], stages=_NO_STAGES)
    return replace(session, metadata=_lean(session.metadata), status=status)


def lean_record(record: Record) -> Record:
    """Return a record without the pod that there was, and its log's last lines, which alone can be 2 KiB."""
    spec = replace(
        record.spec,
        message="",
        browser=None,
        agent_log="",
        archetype=intern(record.spec.archetype),
        api_key_id=intern(record.spec.api_key_id),
        reason=intern(record.spec.reason),
        usage={intern(day): steps for day, steps in record.spec.usage.items()},
    )
    return replace(record, metadata=_lean(record.metadata), spec=spec)


def _lean(metadata: Meta) -> Meta:
    return replace(metadata, namespace=intern(metadata.namespace or ""), labels=_NONE, finalizers=[])


_NO_STAGES = Stages()
_NONE: dict[str, str] = {}
