"""Acts on what `decide` says: one session's level-based reconciliation.

Every answer of the API server goes into the store at once, so that the next decision knows what was just done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from driftstack_common.agent_client import AgentClient, AgentError
from driftstack_common.agent_token import KeyRing
from driftstack_common.kinds import Account, Phase, Session
from driftstack_common.kube.client import POD, KubeClient
from driftstack_common.kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    KubeError,
    NotFound,
    QuotaExceeded,
    Unreachable,
)
from driftstack_common.logging import get_logger
from driftstack_common.names import FINALIZER, browser_pod_name
from driftstack_common.protocol import Claim, Claimed
from driftstack_common.times import now
from driftstack_operator.events import Recorder, Subject
from driftstack_operator.metrics import Metrics
from driftstack_operator.pods.builder import Owner, build_pod
from driftstack_operator.pods.view import PodView
from driftstack_operator.policy import limits_of
from driftstack_operator.reasons import End, Reason, end
from driftstack_operator.sessions import decide as d
from driftstack_operator.sessions.claims import Claims, Target
from driftstack_operator.sessions.ending import Ending
from driftstack_operator.sessions.ready import Observations, begun_at, idle_patch, ready_status
from driftstack_operator.sessions.sight import Sight
from driftstack_operator.sessions.tracks import Track, Tracks
from driftstack_operator.settings import Settings
from driftstack_operator.store import Store

MOST_ACTS: Final = 12
"""Acts of one reconciliation; a session's whole life needs fewer."""

logger = get_logger(__name__)


class Sessions:
    """Reconciles sessions, each by its uid.

    Args:
        gone: told of a session whose object is gone, the moment that is known.
        answered: told the uid of a session whose agent answered a claim.
    """

    def __init__(
        self,
        *,
        kube: KubeClient,
        agents: AgentClient,
        store: Store,
        keys: KeyRing,
        settings: Settings,
        recorder: Recorder,
        metrics: Metrics,
        answered: Callable[[str], None],
        gone: Callable[[Session], None],
    ) -> None:
        self._kube = kube
        self._agents = agents
        self._store = store
        self._keys = keys
        self._settings = settings
        self._recorder = recorder
        self._metrics = metrics
        self._answered = answered
        self._gone = gone
        self._timing = d.Timing(
            start_timeout=settings.start_timeout_seconds,
            stuck=settings.stuck_seconds,
            surplus=settings.surplus_seconds,
            busy_check=settings.busy_check_seconds,
        )
        self.tracks = Tracks()
        self.claims = Claims(agents, self._claim_done)
        self.sight = Sight(kube, store, self.tracks, self.claims, settings)
        self._ending = Ending(kube, store)

    async def reconcile(self, uid: str) -> float | None:
        """Do all that can be done for the session now; return when to look again, seconds."""
        for _ in range(MOST_ACTS):
            await self.sight.look(uid)
            seen = self.sight.observe(uid)
            self._note_progress(uid, seen)
            action = d.decide(seen, self._timing)
            if isinstance(action, d.Wait):
                return action.seconds
            if isinstance(action, d.Forget):
                self._forget(uid)
                return None
            try:
                again = await self._act(uid, seen, action)
            except (Conflict, Invalid, NotFound):
                await self._refresh(seen.session)
                raise
            if again is not None:
                return again
        return 1.0

    async def _act(self, uid: str, seen: d.Observed, action: d.Action) -> float | None:
        """Do it; return seconds to wait before looking again, or None to go on."""
        session = seen.session
        if session is None:
            return await self._remove_orphans(uid, seen)
        match action:
            case d.DeletePods(pods):
                await self._delete_pods(pods, lost=seen.node_lost)
            case d.AddFinalizer():
                await self._hold(session)
            case d.CreatePod():
                await self._create_pod(session, action)
            case d.ClaimPod():
                return self._claim(session, action)
            case d.MarkReady():
                await self._mark_ready(session, action)
            case d.AskAgent(pod):
                return await self._ask_agent(session, pod)
            case d.Finish():
                await self._finish(session, seen, action)
        return None

    # -- start

    async def _hold(self, session: Session) -> None:
        """Add the finalizer; the version makes sure that no other change is overwritten."""
        meta = session.metadata
        patch = {
            "metadata": {
                "resourceVersion": meta.resource_version,
                "uid": meta.uid,
                "finalizers": [*meta.finalizers, FINALIZER],
            }
        }
        self._store.sessions.apply(await self._kube.merge_patch(Session.KIND, meta.namespace, meta.name, patch))

    async def _create_pod(self, session: Session, action: d.CreatePod) -> None:
        track = self._track(session)
        track.reserved = True  # before the first await: the next session of the account counts this one
        name = browser_pod_name(session.uid)
        limits = limits_of(session.spec, self._account(session), self._settings.tiers)
        body = build_pod(
            action.pool,
            Owner(session.uid, session.metadata.namespace or "", session.metadata.name),
            token=self._keys.token(name),
            token_key=self._keys.current,
            max_duration_seconds=limits.duration_seconds,
            image_pull_policy=self._settings.image_pull_policy,
        )
        try:
            stored = await self._kube.create(POD, self._settings.browser_namespace, body)
        except AlreadyExists:  # made before a crash, or by a request whose answer was lost
            stored = await self._kube.get(POD, self._settings.browser_namespace, name)
        except QuotaExceeded as error:
            track.problem = end(Reason.UNSCHEDULABLE, error.message)
            raise
        except (Invalid, Forbidden) as error:
            track.problem = end(Reason.START_FAILED, f"the pod was refused: {error.message}")
            raise
        except Unreachable:  # says nothing about the pod
            raise
        except KubeError as error:  # no namespace, a webhook that fails: it may pass, or never
            track.problem = end(Reason.START_FAILED, f"the pod could not be created: {error.message}")
            raise
        track.pod_created_at = track.pod_created_at or now()
        self._store.pods.apply(stored)

    def _claim(self, session: Session, action: d.ClaimPod) -> float | None:
        """Begin to ask; the answer, an event or the end of the start's time brings the session back."""
        pod = action.pod
        try:
            token = self._keys.token(pod.name, pod.token_key or None)
        except KeyError:
            self._track(session).claim = d.Refused(f"agent key {pod.token_key!r} is no longer in the key ring")
            return None
        claim = Claim(
            session=session.uid,
            device=action.archetype.spec.device,
            limits=limits_of(session.spec, self._account(session), self._settings.tiers),
            pace=session.spec.behavioral_profile,
        )
        self.claims.start(session.uid, Target(address=pod.address, token=token, claim=claim))
        return None

    def _claim_done(self, uid: str, answer: Claimed | d.Refused) -> None:
        track = self.tracks.get(uid)
        if track is not None:
            track.claim = answer
            self._answered(uid)

    async def _mark_ready(self, session: Session, action: d.MarkReady) -> None:
        track = self._track(session)
        status = ready_status(
            session,
            Observations(
                pod=action.pod,
                slug=action.archetype.spec.slug,
                claimed=action.claimed,
                seen_at=track.seen_at,
                pod_created_at=track.pod_created_at or action.pod.created_at,
                pod_running_at=track.pod_running_at,
                ready_at=now(),
            ),
        )
        # Preconditions: an object of the same name that came later is not this session, and when the answer to
        # an earlier try was lost, the session may be busy by now.
        meta = session.metadata
        known = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        patch = {"metadata": known, "status": msgspec.to_builtins(status)}
        stored = await self._kube.merge_patch(Session.KIND, meta.namespace, meta.name, patch, "status")
        self._store.sessions.apply(stored)
        self._metrics.started.labels(status.pool or "miss").inc()
        self._measure(session, track)
        self._recorder.post(
            _subject(session), "Normal", "Ready", f"ready after {status.ready_in} on pod {action.pod.name}"
        )
        logger.info("session ready", session=session.uid, pod=action.pod.name, ready_in=status.ready_in)

    def _measure(self, session: Session, track: Track) -> None:
        begun = begun_at(session, track.seen_at)
        stages = (("pod_created", track.pod_created_at), ("pod_running", track.pod_running_at), ("ready", now()))
        for stage, moment in stages:
            if moment is not None:
                self._metrics.stages.labels(stage).observe(max(0.0, (moment - begun).total_seconds()))

    # -- life

    async def _ask_agent(self, session: Session, pod: PodView) -> float | None:
        """A step has been marked for long: the agent is the truth about it."""
        track = self._track(session)
        track.busy_since = time.monotonic()  # ask again as much later
        try:
            token = self._keys.token(pod.name, pod.token_key or None)
            activity = await self._agents.activity(pod.address, token, session.uid)
        except (AgentError, KeyError) as error:  # only the pod's or its node's state ends a session
            logger.warning("agent does not answer", session=session.uid, error=str(error))
            return self._timing.busy_check
        if activity.step is not None:
            return self._timing.busy_check
        meta = session.metadata
        stored = await self._kube.json_patch(
            Session.KIND, meta.namespace, meta.name, idle_patch(session, now()), "status"
        )
        self._store.sessions.apply(stored)
        return None

    # -- end

    async def _finish(self, session: Session, seen: d.Observed, action: d.Finish) -> None:
        track = self._track(session)
        self.claims.cancel(session.uid)
        if action.end is not None:
            track.verdict = action.end
            await self._archive(session, seen, action.end, track)
        await self._delete_pods(action.pods, lost=seen.node_lost)
        current: Session | None = session
        if not session.ending:
            current = await self._ending.delete_session(session)
        if current is None or await self._ending.release(current):
            self._remove(session)
        else:
            await self._refresh(session)

    async def _archive(self, session: Session, seen: d.Observed, ended: End, track: Track) -> None:
        default = seen.slug or "default"
        record = await self._ending.record(session, ended, seen.pod, default)
        track.recorded = True
        self._metrics.ended.labels(ended.phase.value, ended.reason.value).inc()
        logger.info("session ended", session=session.uid, phase=ended.phase.value, reason=ended.reason.value)
        if record is not None:
            about = Subject(
                kind="SessionRecord",
                namespace=session.metadata.namespace or "",
                name=session.uid,
                uid=record,
            )
            errored = ended.phase is Phase.ERRORED
            self._recorder.post(about, "Warning" if errored else "Normal", ended.reason.value, ended.message)

    async def _delete_pods(self, pods: tuple[PodView, ...], *, lost: bool) -> None:
        for pod in pods:
            await self._ending.delete_pod(pod, lost=lost)

    async def _remove_orphans(self, uid: str, seen: d.Observed) -> float | None:
        """Delete pods whose session is gone, after a last direct look at it."""
        for pod in seen.strays:
            if not pod.deleting and not await self._owner_lives(uid, pod):
                logger.info("orphaned pod deleted", session=uid, pod=pod.name)
                await self._ending.delete_pod(pod, lost=self._store.node_lost(pod.node))
        return None

    async def _owner_lives(self, uid: str, pod: PodView) -> bool:
        namespace, _, name = pod.owner.partition("/")
        if not name:
            return False
        try:
            body = await self._kube.get(Session.KIND, namespace, name)
        except NotFound:
            return False
        if body["metadata"]["uid"] != uid:
            return False
        self._store.sessions.apply(body)
        return self._store.sessions.by_uid(uid) is not None

    # -- helpers of all

    def _note_progress(self, uid: str, seen: d.Observed) -> None:
        track = self.tracks.get(uid)
        if track is not None and seen.pod is not None and seen.pod.running and track.pod_running_at is None:
            track.pod_running_at = now()
            self.claims.hurry(uid)

    def _track(self, session: Session) -> Track:
        return self.tracks.begin(session.uid, int(session.metadata.resource_version or 0))

    def _account(self, session: Session) -> Account:
        account = self.sight.account_of(session)
        if account is None:  # it went between the decision and the act: look again
            raise NotFound(f"the account of namespace {session.metadata.namespace} is gone")
        return account

    def _forget(self, uid: str) -> None:
        self.claims.cancel(uid)
        self.tracks.drop(uid)

    def _remove(self, session: Session) -> None:
        self._store.sessions.remove(session.uid)
        self._gone(session)

    async def _refresh(self, session: Session | None) -> None:
        """Read the object itself: what was assumed of it does not hold."""
        if session is None:
            return
        meta = session.metadata
        try:
            body = await self._kube.get(Session.KIND, meta.namespace, meta.name)
        except NotFound:
            self._remove(session)
            return
        except KubeError:  # the caller's own error is the one to report
            return
        if body["metadata"]["uid"] == session.uid:
            self._store.sessions.apply(body)
        else:
            self._remove(session)


def _subject(session: Session) -> Subject:
    meta = session.metadata
    return Subject(kind=Session.KIND.name, namespace=meta.namespace or "", name=meta.name, uid=meta.uid)
