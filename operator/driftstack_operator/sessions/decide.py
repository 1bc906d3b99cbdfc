"""The heart of the operator: what is observed of one session in, one action out. Pure.

`docs/reference/lifecycle.md` is its table, row by row; the rows are also its test.
"""

from __future__ import annotations

import msgspec

from driftstack_common.kinds import Archetype, Phase, Pool, Session
from driftstack_common.names import FINALIZER
from driftstack_common.protocol import Claimed
from driftstack_operator.pods.outcome import hopeless, outcome, stuck
from driftstack_operator.pods.view import PodView
from driftstack_operator.reasons import End, Reason, end


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How long the operator waits, seconds; see the settings of the same names."""

    start_timeout: float = 60.0
    stuck: float = 30.0
    surplus: float = 2.0
    busy_check: float = 5.0
    last_words: float = 5.0
    warm_answer: float = 5.0


class Refused(msgspec.Struct, frozen=True):
    """The agent will never take this session; elsewhere if one in another pod may."""

    message: str
    elsewhere: bool = False


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that matters about one session at one moment.

    Attributes:
        session: None once the object is gone.
        pod: its pod; one that was seen to disappear is still here, marked gone.
        strays: further pods that carry its label.
        recorded: its SessionRecord is written (or can't be).
        verdict: an end that was decided before and not yet recorded; it stands.
        cap: sessions its account may have at once; None when the namespace belongs to no account.
        node_lost_in: seconds until its node, which is silent, counts as lost; 0 when it is, None while it is well.
        ahead: the account's other sessions that hold a slot or were admitted earlier.
        archetype: what the session's slug names; None when nothing.
        pool_refused: why the session can't have the pool that it names; empty when it can.
        candidate: a warm pod that could serve it; with a pod of its own only while no node takes that.
        room_in: seconds until a warm pod may give way to its own, which waits for room; None while it does not.
        problem: why its pod could not be created when that was last tried.
        claim: what the agent answered; None before it did.
        claiming: the agent is being asked to take the session.
        asked_for: seconds since that began.
        ready_refused: the API server will not have the session called ready.
        untold: it became ready lately, and its Event may not be posted.
        asking: the agent is being asked what it runs.
        idle: it has said that it does not run the step that is marked.
        waited: seconds since the start began: the first sight of the session, or before that the pod of an
            operator that died.
        busy_for: seconds since the present step was marked, or the agent last asked about it.
        leaving: seconds since its pod was first seen to be deleted.
    """

    session: Session | None
    pod: PodView | None = None
    strays: tuple[PodView, ...] = ()
    node_lost_in: float | None = None
    recorded: bool = False
    verdict: End | None = None
    cap: int | None = None
    ahead: int = 0
    slug: str = ""
    archetype: Archetype | None = None
    pool: Pool | None = None
    pool_refused: str = ""
    candidate: PodView | None = None
    room_in: float | None = None
    problem: End | None = None
    claim: Claimed | Refused | None = None
    claiming: bool = False
    asked_for: float = 0.0
    ready_refused: End | None = None
    untold: bool = False
    asking: bool = False
    idle: bool = False
    waited: float = 0.0
    busy_for: float = 0.0
    leaving: float = 0.0

    @property
    def node_lost(self) -> bool:
        """Whether what ran on its node is lost."""
        return self.node_lost_in == 0


class Forget(msgspec.Struct, frozen=True):
    """Nothing is left of the session: drop what is remembered."""


class Wait(msgspec.Struct, frozen=True):
    """Nothing to do now; look again after so many seconds, or with the next event when None."""

    seconds: float | None = None


class DeletePods(msgspec.Struct, frozen=True):
    """Delete pods that serve nobody."""

    pods: tuple[PodView, ...]


class AddFinalizer(msgspec.Struct, frozen=True):
    """Make sure that the session can't go without a record."""


class CreatePod(msgspec.Struct, frozen=True):
    """Start a pod for the session (cold); this takes a slot of the account."""

    pool: Pool
    archetype: Archetype


class TakePod(msgspec.Struct, frozen=True):
    """Make a warm pod the session's, and ask its agent at the same time; this takes a slot of the account."""

    pod: PodView
    archetype: Archetype


class MakeRoom(msgspec.Struct, frozen=True):
    """Have a warm pod give way to the session's own, which no node has room for."""

    pod: PodView


class LeavePod(msgspec.Struct, frozen=True):
    """Delete the pod that was warm and did not serve; the session starts again with another."""

    pod: PodView
    why: End


class ClaimPod(msgspec.Struct, frozen=True):
    """Ask the pod's agent to serve the session."""

    pod: PodView
    archetype: Archetype


class MarkReady(msgspec.Struct, frozen=True):
    """Tell everybody that the session can be used."""

    pod: PodView
    claimed: Claimed
    archetype: Archetype


class TellReady(msgspec.Struct, frozen=True):
    """Post the Event of a session that became ready."""


class AskAgent(msgspec.Struct, frozen=True):
    """Find out whether the step that has been marked for long still runs."""

    pod: PodView


class MarkIdle(msgspec.Struct, frozen=True):
    """Call the session ready again: its step no longer runs, and who ran it has not said so."""


class Finish(msgspec.Struct, frozen=True):
    """End the session: record, pods, Event, object; end is None when the record is already there."""

    end: End | None
    pods: tuple[PodView, ...] = ()


Start = AddFinalizer | CreatePod | TakePod | ClaimPod | MarkReady | TellReady
Action = Start | MakeRoom | LeavePod | AskAgent | MarkIdle | Finish | DeletePods | Wait | Forget


def decide(seen: Observed, timing: Timing = Timing()) -> Action:  # noqa: B008 - immutable
    """Return the one thing to do next."""
    session = seen.session
    if session is None:
        pods = _present(seen)
        return DeletePods(pods) if pods else Forget()
    if seen.recorded:
        return _leave(seen, session)
    if session.ending:
        return _finish(seen, end(Reason.DELETED, "the session was deleted"))
    if seen.verdict is not None:
        return _finish(seen, seen.verdict)
    if FINALIZER not in session.metadata.finalizers:
        return AddFinalizer()
    strays = _still_there(seen.strays)
    if strays:
        return DeletePods(strays)
    if seen.pod is None:
        return _without_pod(seen, session, timing)
    return _with_pod(seen, session, seen.pod, timing)


def holds_slot(session: Session, pods: bool, reserved: bool) -> bool:
    """Whether a session counts as started, hence against its account's cap, until its object is gone."""
    return pods or reserved or session.status.browser is not None


def _leave(seen: Observed, session: Session) -> Action:
    """The record is there: finish what was begun."""
    held = FINALIZER in session.metadata.finalizers
    if session.ending and not held:
        pods = _present(seen)
        return DeletePods(pods) if pods else Wait()
    return Finish(None, _present(seen))


def _finish(seen: Observed, reason: End) -> Finish:
    return Finish(reason, _present(seen))


def _without_pod(seen: Observed, session: Session, timing: Timing) -> Action:
    if session.status.browser is not None:
        where = f"pod {session.status.browser.pod}"
        if seen.node_lost:
            return _finish(seen, end(Reason.NODE_LOST, f"{where} went with its node"))
        return _finish(seen, end(Reason.POD_DELETED, f"{where} is gone"))
    if seen.cap is None:
        return _finish(seen, end(Reason.NO_ACCOUNT, f"namespace {session.metadata.namespace} has no account"))
    if seen.archetype is None:
        return _finish(seen, end(Reason.UNKNOWN_ARCHETYPE, _unknown(seen.slug, session)))
    if seen.pool_refused:
        return _finish(seen, end(Reason.UNKNOWN_POOL, seen.pool_refused))
    if seen.ahead >= seen.cap:
        return _surplus(seen, seen.cap, timing)
    if seen.candidate is not None:
        return TakePod(seen.candidate, seen.archetype)
    if seen.problem is not None and seen.waited >= timing.stuck:
        return _finish(seen, seen.problem)
    if seen.pool is not None:
        return CreatePod(seen.pool, seen.archetype)
    left = _left(seen, timing)
    missing = end(Reason.START_TIMEOUT, "there is no BrowserPool to start from")
    return Wait(left) if left > 0 else _finish(seen, missing)


def _unknown(slug: str, session: Session) -> str:
    return f"no archetype {slug!r}, neither in {session.metadata.namespace} nor in the catalogue"


def _surplus(seen: Observed, cap: int, timing: Timing) -> Action:
    """The quota let one too many in: a slot may be free in a moment."""
    left = timing.surplus - seen.waited
    if left > 0:
        return Wait(left)
    return _finish(seen, end(Reason.CONCURRENCY_LIMIT, f"the account may have {cap} sessions at once"))


def _with_pod(seen: Observed, session: Session, pod: PodView, timing: Timing) -> Action:
    ended = outcome(pod, node_lost=seen.node_lost)
    if pod.pooled and session.status.phase is Phase.CREATING and (why := ended or _silent(seen, timing)):
        return LeavePod(pod, why)
    if ended is not None:
        return _last_words(seen, pod, timing) or _finish(seen, ended)
    if session.status.phase is Phase.CREATING:
        return _start(seen, pod, timing)
    if seen.untold:
        return TellReady()
    if session.status.phase is Phase.BUSY:
        return _busy(seen, pod, timing)
    return Wait()


def _silent(seen: Observed, timing: Timing) -> End | None:
    """Return why a pod that was warm will not serve, though it lives."""
    if isinstance(seen.claim, Refused):
        return end(Reason.START_FAILED, seen.claim.message) if seen.claim.elsewhere else None
    if seen.claim is None and seen.asked_for >= timing.warm_answer:
        return end(Reason.START_FAILED, "the agent of a warm pod did not answer")
    return None


def _last_words(seen: Observed, pod: PodView, timing: Timing) -> Wait | None:
    """An agent that is told to stop says why, and its log, in a moment; nobody does on a lost node."""
    left = timing.last_words - seen.leaving
    speaks = pod.deleting and pod.running and not pod.gone and not seen.node_lost
    return Wait(left) if speaks and left > 0 else None


def _busy(seen: Observed, pod: PodView, timing: Timing) -> Action:
    if seen.idle:
        return MarkIdle()
    if seen.asking:
        return Wait()
    left = timing.busy_check - seen.busy_for
    return Wait(left) if left > 0 else AskAgent(pod)


def _start(seen: Observed, pod: PodView, timing: Timing) -> Action:
    if isinstance(seen.claim, Refused):
        return _finish(seen, end(Reason.START_FAILED, seen.claim.message))
    if seen.archetype is None:
        return _finish(seen, end(Reason.UNKNOWN_ARCHETYPE, f"archetype {seen.slug!r} went away"))
    if seen.candidate is not None and not pod.pooled:
        return TakePod(seen.candidate, seen.archetype)
    if seen.ready_refused is not None:
        return _finish(seen, seen.ready_refused)
    if seen.claim is not None:
        return MarkReady(pod, seen.claim, seen.archetype)
    return _wait_for_agent(seen, pod, timing, seen.archetype)


def _wait_for_agent(seen: Observed, pod: PodView, timing: Timing, archetype: Archetype) -> Action:
    never = hopeless(pod)
    if never is not None:
        return _finish(seen, never)
    left = _left(seen, timing, pod)
    if left <= 0:
        return _finish(seen, _too_late(pod))
    if pod.address and not seen.claiming:
        return ClaimPod(pod, archetype)
    if pod.pooled:
        return Wait(timing.warm_answer - seen.asked_for)
    if seen.room_in is None:
        return Wait(left)
    return MakeRoom(pod) if seen.room_in <= 0 else Wait(min(left, seen.room_in))


def _left(seen: Observed, timing: Timing, pod: PodView | None = None) -> float:
    """Return for how many seconds a start may still go on."""
    patience = timing.start_timeout if pod is None or stuck(pod) is None else timing.stuck
    return patience - seen.waited


def _too_late(pod: PodView) -> End:
    cause = stuck(pod)
    if cause is not None:
        return cause
    state = "the agent did not take the session in time" if pod.address else f"pod {pod.name} is still {pod.phase}"
    return end(Reason.START_TIMEOUT, state)


def _present(seen: Observed) -> tuple[PodView, ...]:
    """Return the pods that have to be deleted; on a lost node nobody else brings a deletion to its end."""
    strays = _still_there(seen.strays)
    if seen.pod is None or seen.pod.gone or (seen.pod.deleting and not seen.node_lost):
        return strays
    return (seen.pod, *strays)


def _still_there(pods: tuple[PodView, ...]) -> tuple[PodView, ...]:
    """Return those that are not about to go."""
    return tuple(pod for pod in pods if not pod.deleting)
