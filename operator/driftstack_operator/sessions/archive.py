"""From a session and its end to its SessionRecord. Pure."""

from __future__ import annotations

from datetime import datetime

from driftstack_common.kinds import Browser, Record, RecordSpec, Session, StepCounts
from driftstack_common.kinds.meta import Meta
from driftstack_common.names import DEFAULT_ARCHETYPE, LABEL_SESSION
from driftstack_common.times import format_time
from driftstack_operator.pods.outcome import agent_log
from driftstack_operator.pods.view import PodView
from driftstack_operator.reasons import End


def build_record(
    session: Session,
    ended: End,
    ended_at: datetime,
    *,
    pod: PodView | None = None,
    default_archetype: str = DEFAULT_ARCHETYPE,
    usage: dict[str, StepCounts] | None = None,
) -> Record:
    """Return the record of a session that ended.

    Args:
        pod: what was last seen of its pod: its agent's log, and the pod itself if the session was never ready.
        default_archetype: of its account, for a session that named none and did not start.
        usage: steps that it did, by date.
    """
    spec, status = session.spec, session.status
    created_at = session.created_at
    elapsed = (ended_at - created_at).total_seconds()
    return Record(
        metadata=Meta(name=session.uid, namespace=session.metadata.namespace, labels={LABEL_SESSION: session.uid}),
        spec=RecordSpec(
            session_name=session.metadata.name,
            session_uid=session.uid,
            phase=ended.phase.value,  # type: ignore[arg-type] # End.phase is one of the two
            reason=ended.reason.value,
            message=ended.message,
            archetype=status.archetype or spec.archetype or default_archetype,
            purpose=spec.purpose,
            label=spec.label,
            metadata=spec.metadata,
            behavioral_profile=spec.behavioral_profile,
            api_key_id=session.api_key_id,
            created_at=format_time(created_at),
            ready_at=status.stages.ready,
            # Clocks of two machines may differ: a record never ends before it began.
            ended_at=format_time(max(ended_at, created_at)),
            duration_milliseconds=max(0, round(elapsed * 1000)),
            browser=status.browser or _browser(pod),
            agent_log=agent_log(pod),
            usage=usage or {},
        ),
    )


def _browser(pod: PodView | None) -> Browser | None:
    if pod is None:
        return None
    return Browser(pod=pod.name, node=pod.node, address=pod.address, token_key=pod.token_key)
