"""The acts of a start: finalizer, pod, claim, the status that says ready, its Event. Each is safe to repeat."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from driftstack_common.agent_client import AgentClient
from driftstack_common.agent_token import KeyRing
from driftstack_common.kinds import Account, Session
from driftstack_common.kube.client import POD, Body, KubeClient
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
from driftstack_common.protocol import Claim, Claimed, Limits
from driftstack_common.times import now
from driftstack_operator.events import Recorder, ready_event
from driftstack_operator.metrics import Metrics
from driftstack_operator.pods.builder import Owner, build_pod, taking
from driftstack_operator.pods.view import PodView
from driftstack_operator.policy import limits_of
from driftstack_operator.pools.reconcile import Pools
from driftstack_operator.reasons import Reason, end
from driftstack_operator.sessions import decide as d
from driftstack_operator.sessions.claims import Claims, Target
from driftstack_operator.sessions.ready import Observations, begun_at, ready_status
from driftstack_operator.sessions.stages import Moments, stages
from driftstack_operator.sessions.tracks import Tracks
from driftstack_operator.settings import Settings
from driftstack_operator.store import Store

MOST_REFUSALS: Final = 9
"""Refused tries to call a session ready: 13 s with the queue's pauses, as an API server that starts refuses all."""

logger = get_logger(__name__)


class Starting:
    """The writes of a start, and the claim.

    Args:
        kube: client to write with.
        agents: client of the agents.
        store: learns what each write answered.
        tracks: what is remembered of each session.
        keys: makes the agents' tokens.
        settings: namespaces and tiers.
        recorder, metrics: told what was reached.
        pools: where warm pods come from.
        answered: told the uid of a session whose agent answered a claim.
    """

    def __init__(
        self,
        *,
        kube: KubeClient,
        agents: AgentClient,
        store: Store,
        tracks: Tracks,
        keys: KeyRing,
        settings: Settings,
        recorder: Recorder,
        metrics: Metrics,
        pools: Pools,
        answered: Callable[[str], None],
    ) -> None:
        self._kube = kube
        self._store = store
        self._tracks = tracks
        self._keys = keys
        self._settings = settings
        self._recorder = recorder
        self._metrics = metrics
        self._pools = pools
        self._answered = answered
        self.claims = Claims(agents, self._claim_done)

    async def hold(self, session: Session) -> None:
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

    async def create_pod(self, session: Session, account: Account, action: d.CreatePod) -> None:
        """Create the session's pod, or find it; what refused it is remembered as the session's problem."""
        track = self._tracks.of(session)
        track.reserved = True  # before the first await: the next session of the account counts this one
        self._pools.begins(session.uid, action.pool.metadata.name)
        self.forget_claim(session.uid)  # what a warm pod's agent said that went before its session was ready
        body = self._pod(session, self._limits(session, account), action)
        try:
            stored = await self._kube.create(POD, self._settings.browser_namespace, body)
        except AlreadyExists:  # made before a crash, or by a request whose answer was lost
            stored = await self._kube.get(POD, self._settings.browser_namespace, body["metadata"]["name"])
            if stored["metadata"]["uid"] in track.given_up:  # the event that it is gone comes here again
                track.problem = end(Reason.START_FAILED, f"pod {body['metadata']['name']} is still being deleted")
                raise
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

    def _pod(self, session: Session, limits: Limits, action: d.CreatePod) -> Body:
        return build_pod(
            action.pool,
            _owner(session),
            token=self._keys.token(browser_pod_name(session.uid)),
            token_key=self._keys.current,
            max_duration_seconds=limits.duration_seconds,
            image_pull_policy=self._settings.image_pull_policy,
        )

    async def take(self, session: Session, account: Account, action: d.TakePod) -> None:
        """Make a warm pod the session's: its agent is asked while the API server is.

        The pod's state tells afterwards whether it worked: one that somebody else has taken, or removes, is left.
        A session that is refused for any other reason starts cold.
        """
        track, pod = self._tracks.of(session), action.pod
        track.reserved = True  # before the first await, as in create_pod
        self._pools.begins(session.uid, pod.pool)
        self._pools.take(pod, session.uid, action.archetype.spec.device)
        if track.asked_pod != pod.uid or track.claim is None:
            self.claim(session, account, action)
        duration = self._limits(session, account).duration_seconds
        patch = taking(pod, _owner(session), moment=now(), max_duration_seconds=duration)
        stored: Body | None
        try:
            stored = await self._kube.json_patch(POD, pod.namespace, pod.name, patch)
        except (Invalid, NotFound):
            stored = await self._seen(pod)
        except (Unreachable, Conflict):
            raise
        except KubeError:  # forbidden, a webhook that fails: every warm pod would meet the same
            track.cold = True
            raise
        if stored is None:
            self._store.pods.remove(pod.uid)
        else:
            self._store.pods.apply(stored)
        self._pools.release(session.uid)
        if pod.uid not in self._store.pods.group(session.uid):
            self.forget_claim(session.uid)
            still = self._store.pods.by_uid(pod.uid)
            track.cold = still is not None and still.waits  # an admission policy refused, not what the patch tests

    async def _seen(self, pod: PodView) -> Body | None:
        """Return a pod as it is: an earlier try may have worked whose answer was lost."""
        try:
            return await self._kube.get(POD, pod.namespace, pod.name)
        except NotFound:
            return None

    def forget_claim(self, uid: str) -> None:
        """Forget what an agent was asked and said: the session gets another pod."""
        self.claims.cancel(uid)
        track = self._tracks.get(uid)
        if track is not None:
            track.claim = track.asked_since = None
            track.asked_pod = ""

    def claim(self, session: Session, account: Account, action: d.ClaimPod | d.TakePod) -> None:
        """Begin to ask; the answer, an event or the end of the start's time brings the session back."""
        pod, track = action.pod, self._tracks.of(session)
        if track.asked_pod != pod.uid:
            self.forget_claim(session.uid)
        track.asked_pod = pod.uid
        try:
            token = self._keys.token(pod.name, pod.token_key or None)
        except KeyError:
            refusal = f"agent key {pod.token_key!r} is no longer in the key ring"
            track.claim = d.Refused(refusal, elsewhere=pod.pooled)
            return
        if track.asked_since is None:
            track.asked_since = time.monotonic()
        claim = Claim(
            session=session.uid,
            device=action.archetype.spec.device,
            limits=self._limits(session, account),
            pace=session.spec.behavioral_profile,
        )
        self.claims.claim(session.uid, Target(address=pod.address, token=token, claim=claim, pooled=pod.pooled))

    def _claim_done(self, uid: str, answer: Claimed | d.Refused) -> None:
        track = self._tracks.get(uid)
        if track is not None:
            track.claim, track.claimed_at = answer, now()
            self._answered(uid)

    async def mark_ready(self, session: Session, action: d.MarkReady) -> None:
        """Write the whole status; one that is refused again and again ends the start."""
        track = self._tracks.of(session)
        took = time.monotonic() - track.asked_since if track.asked_since is not None else None
        moments = Moments(
            own=not action.pod.pooled,
            accepted=track.seen_at,
            pod_created=track.pod_created_at or action.pod.created_at,
            pod_scheduled=track.pod_scheduled_at,
            pod_running=track.pod_running_at,
            claimed=track.claimed_at,
            ready=now(),
        )
        known = Observations(
            pod=action.pod, slug=action.archetype.spec.slug, claimed=action.claimed, moments=moments, took=took
        )
        track.readied = known
        try:
            stored = await self._write_status(session, known)
        except (Invalid, Forbidden) as error:
            track.ready_refusals += 1
            if track.ready_refusals >= MOST_REFUSALS:
                track.ready_refused = end(
                    Reason.START_FAILED, f"the session could not be called ready: {error.message}"
                )
            raise
        self.count(self._store.sessions.apply(stored) or session)

    def count(self, session: Session) -> None:
        """Count a start, once it is seen to be told: the answer to the write that tells it may have been lost."""
        track = self._tracks.of(session)
        known, browser = track.readied, session.status.browser
        if known is None or browser is None or browser.pod != known.pod.name:
            return
        track.readied = None
        self._metrics.started.labels(session.status.pool or "miss").inc()
        self._pools.served(known.pod, known.took)
        self._measure(session, known)
        logger.info("session ready", session=session.uid, pod=known.pod.name, ready_in=session.status.ready_in)

    async def _write_status(self, session: Session, known: Observations) -> Body:
        # Preconditions: an object of the same name that came later is not this session, and when the answer to
        # an earlier try was lost, the session may be busy by now.
        meta = session.metadata
        same = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        patch = {"metadata": same, "status": msgspec.to_builtins(ready_status(session, known))}
        return await self._kube.merge_patch(Session.KIND, meta.namespace, meta.name, patch, "status")

    async def tell_ready(self, session: Session) -> None:
        """Post the Event of the start."""
        await self._recorder.post(ready_event(session))
        self._tracks.of(session).told_ready = True

    def _measure(self, session: Session, known: Observations) -> None:
        begun = begun_at(session, known.moments.accepted)
        for stage, moment in stages(known.moments, known.claimed.reached, begun).items():
            self._metrics.stages.labels(stage).observe(max(0.0, (moment - begun).total_seconds()))

    def _limits(self, session: Session, account: Account) -> Limits:
        return limits_of(session.spec, account, self._settings.tiers, now())


def _owner(session: Session) -> Owner:
    return Owner(session.uid, session.metadata.namespace or "", session.metadata.name)
