"""Acts on what `decide` says: one session's level-based reconciliation.

Every answer of the API server goes into the store at once, so that the next decision knows what was just done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from driftstack_common.agent_client import AgentClient
from driftstack_common.agent_token import KeyRing
from driftstack_common.kinds import Account, Record, Session
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.errors import Conflict, Invalid, KindGone, KubeError, NotFound
from driftstack_common.logging import get_logger
from driftstack_common.protocol import Activity
from driftstack_common.times import now
from driftstack_operator.events import Recorder, gave_way_event
from driftstack_operator.metrics import Metrics
from driftstack_operator.pods.view import PodView
from driftstack_operator.pools.reconcile import Pools
from driftstack_operator.reasons import End
from driftstack_operator.sessions import decide as d
from driftstack_operator.sessions.asking import Asking, Question
from driftstack_operator.sessions.counting import Counting
from driftstack_operator.sessions.ending import Ending
from driftstack_operator.sessions.ready import idle_patch
from driftstack_operator.sessions.references import References
from driftstack_operator.sessions.sight import Sight
from driftstack_operator.sessions.starting import Starting
from driftstack_operator.sessions.tracks import Tracks
from driftstack_operator.settings import Settings
from driftstack_operator.store import Store
from driftstack_operator.webhooks.outbox import Outbox

MOST_ACTS: Final = 12
"""Acts of one reconciliation; a session's whole life needs fewer."""

logger = get_logger(__name__)


class Sessions:
    """Reconciles sessions, each by its uid.

    Args:
        pools: where warm pods come from; told of every start and its end.
        gone: told of a session whose object is gone, the moment that is known.
        answered: told the uid of a session whose agent answered a claim.
        outbox: of the present term.
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
        pools: Pools,
        answered: Callable[[str], None],
        gone: Callable[[Session], None],
        outbox: Callable[[], Outbox],
    ) -> None:
        self._kube = kube
        self._store = store
        self._keys = keys
        self._settings = settings
        self._recorder = recorder
        self._pools = pools
        self._answered = answered
        self._gone = gone
        self._timing = d.Timing(
            start_timeout=settings.start_timeout_seconds,
            stuck=settings.stuck_seconds,
            surplus=settings.surplus_seconds,
            busy_check=settings.busy_check_seconds,
            last_words=settings.last_words_seconds,
            warm_answer=settings.warm_answer_seconds,
        )
        self.tracks = Tracks()
        self._starting = Starting(
            kube=kube,
            agents=agents,
            store=store,
            tracks=self.tracks,
            keys=keys,
            settings=settings,
            recorder=recorder,
            metrics=metrics,
            pools=pools,
            answered=answered,
        )
        self.claims = self._starting.claims
        self.asking = Asking(agents, self._agent_answered)
        self._references = References(kube, store, settings)
        self.sight = Sight(
            kube, self._references, store, self.tracks, self.claims, self.asking, agents, pools, settings
        )
        self._counting = Counting(agents, keys)
        self._ending = Ending(kube, store, recorder, metrics, outbox)

    async def close(self) -> None:
        """Ask no agent any more."""
        await self.claims.close()
        await self.asking.close()

    async def reconcile(self, uid: str) -> float | None:
        """Do all that can be done for the session now; return when to look again, seconds."""
        for _ in range(MOST_ACTS):
            await self.sight.look(uid)
            seen = self.sight.observe(uid)
            self._note_progress(uid, seen)
            action = d.decide(seen, self._timing)
            if isinstance(action, d.Wait):
                return _sooner(action.seconds, seen.node_lost_in or None)
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
                self.tracks.of(session).given_up.update(pod.uid for pod in pods)
                await self._delete_pods(pods, lost=seen.node_lost)
            case d.MakeRoom(pod):
                await self._make_room(session, pod)
            case d.LeavePod(pod, why):
                await self._leave(session, pod, why, lost=seen.node_lost)
            case d.AskAgent(pod):
                self._ask_agent(session, pod)
            case d.MarkIdle():
                await self._mark_idle(session)
            case d.Finish():
                await self._finish(session, seen, action)
            case d.Wait() | d.Forget():  # done by the caller
                return None
            case _:
                await self._start(session, action)
        return None

    async def _start(self, session: Session, action: d.Start) -> None:
        match action:
            case d.AddFinalizer():
                await self._starting.hold(session)
            case d.CreatePod():
                await self._starting.create_pod(session, self._account(session), action)
            case d.TakePod():
                await self._starting.take(session, self._account(session), action)
            case d.ClaimPod():
                self._starting.claim(session, self._account(session), action)
            case d.MarkReady():
                await self._starting.mark_ready(session, action)
            case d.TellReady():
                await self._starting.tell_ready(session)

    async def _leave(self, session: Session, pod: PodView, why: End, *, lost: bool) -> None:
        """Give up a pod that was warm; the next look finds another, or none."""
        logger.warning("warm pod left", session=session.uid, pod=pod.name, why=why.message)
        await self._ending.delete_pod(pod, lost=lost)
        self._pools.lost(pod, why)
        self._starting.forget_claim(session.uid)

    async def _make_room(self, session: Session, pod: PodView) -> None:
        track = self.tracks.of(session)
        track.gave_way_at = time.monotonic()
        before = track.gave_way.node if track.gave_way is not None else ""
        warm = await self._pools.make_room(pod, before)
        if warm is None:
            return
        track.gave_way = warm
        pool = self._store.pools.get(warm.namespace, warm.pool)
        if pool is not None:
            with suppress(KubeError):  # it only explains
                await self._recorder.post(gave_way_event(session, pod, warm, pool))

    # -- life

    def _ask_agent(self, session: Session, pod: PodView) -> None:
        """A step has been marked for long: the agent is the truth about it."""
        step = session.status.step
        try:
            token = self._keys.token(pod.name, pod.token_key or None)
        except KeyError:
            logger.warning("agent key is no longer in the key ring", session=session.uid, key=pod.token_key)
            self._agent_answered(session.uid, step, None)
            return
        self.asking.start(session.uid, Question(address=pod.address, token=token, step=step))

    def _agent_answered(self, uid: str, step: int, activity: Activity | None) -> None:
        track = self.tracks.get(uid)
        if track is None:
            return
        if track.busy_step == step:
            track.busy_since = time.monotonic()  # ask again as much later
        if activity is not None:
            track.usage = activity.usage
            if activity.step is None:
                track.idle_step = step
        self._answered(uid)

    async def _mark_idle(self, session: Session) -> None:
        meta = session.metadata
        try:
            stored = await self._kube.json_patch(
                Session.KIND, meta.namespace, meta.name, idle_patch(session, now()), "status"
            )
        finally:  # what was said holds for one try: by the next the session may be at another step
            self.tracks.of(session).idle_step = -1
        self._store.sessions.apply(stored)

    # -- end

    async def _finish(self, session: Session, seen: d.Observed, action: d.Finish) -> None:
        track = self.tracks.of(session)
        self.claims.cancel(session.uid)
        self.asking.cancel(session.uid)
        self._pools.ended(session.uid)
        record: Record | None = None
        if action.end is not None:
            track.verdict = action.end
            usage = await self._counting.steps(session, seen, track)
            record = await self._ending.archive(
                session, action.end, track, pod=seen.pod, slug=seen.slug, usage=usage
            )
        await self._delete_pods(action.pods, lost=seen.node_lost)
        record = await self._ending.deliver(session, record, track)
        await self._ending.tell(session, record, track)
        current: Session | None = session
        if not session.ending:
            current = await self._ending.delete_session(session)
        if current is None or await self._ending.release(current):
            self._remove(session)
        else:
            await self._refresh(session)

    async def _delete_pods(self, pods: tuple[PodView, ...], *, lost: bool) -> None:
        for pod in pods:
            await self._ending.delete_pod(pod, lost=lost)

    async def _remove_orphans(self, uid: str, seen: d.Observed) -> float | None:
        """Delete pods whose session is gone, after a last direct look at it."""
        for pod in seen.strays:
            if not pod.deleting and not await self._owner_lives(uid, pod):
                logger.info("orphaned pod deleted", session=uid, pod=pod.name)
                await self._ending.delete_pod(pod, lost=self._on_lost_node(pod))
        return None

    def _on_lost_node(self, pod: PodView) -> bool:
        return self._store.node_lost_in(pod.node, self._settings.node_patience_seconds) == 0

    async def _owner_lives(self, uid: str, pod: PodView) -> bool:
        namespace, _, name = pod.owner.partition("/")
        if not name:
            return False
        try:
            body = await self._kube.get(Session.KIND, namespace, name)
        except KindGone:  # says nothing of this session: a CRD that goes waits for its sessions to end
            raise
        except NotFound:
            return False
        if body["metadata"]["uid"] != uid:
            return False
        self._store.sessions.apply(body)
        return self._store.sessions.by_uid(uid) is not None

    # -- helpers of all

    def _note_progress(self, uid: str, seen: d.Observed) -> None:
        if seen.session is not None and seen.session.status.browser is not None:
            self._starting.count(seen.session)
            self._pools.ended(uid)  # here, since the answer to the write that called it ready may have been lost
        track = self.tracks.get(uid)
        if track is None or seen.pod is None or seen.pod.pooled:  # a warm pod ran before
            return
        if seen.pod.node and track.pod_scheduled_at is None:
            track.pod_scheduled_at = now()
        if seen.pod.running and track.pod_running_at is None:
            track.pod_running_at = now()
            self.claims.hurry(uid)

    def _account(self, session: Session) -> Account:
        account = self._references.account_of(session)
        if account is None:  # it went between the decision and the act: look again
            raise NotFound(f"the account of namespace {session.metadata.namespace} is gone")
        return account

    def _forget(self, uid: str) -> None:
        self.claims.cancel(uid)
        self.asking.cancel(uid)
        self._pools.ended(uid)
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


def _sooner(one: float | None, other: float | None) -> float | None:
    return min((seconds for seconds in (one, other) if seconds is not None), default=None)
