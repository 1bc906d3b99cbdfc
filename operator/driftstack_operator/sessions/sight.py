"""Puts together what `decide` sees of a session: from the store, and by a direct look where the store has nothing.

Before anything is called missing, the API server is asked; before a session is lost with its node, its agent is.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from typing import Final

from driftstack_common.agent_client import AgentClient, AgentError
from driftstack_common.kinds import Browser, Phase, Pool, Session
from driftstack_common.kube.client import POD, KubeClient
from driftstack_common.logging import get_logger
from driftstack_common.times import now, parse_time
from driftstack_operator.pods.view import PodView
from driftstack_operator.policy import cap_of
from driftstack_operator.pools.reconcile import Pools
from driftstack_operator.sessions.asking import Asking
from driftstack_operator.sessions.claims import Claims
from driftstack_operator.sessions.decide import Observed, holds_slot
from driftstack_operator.sessions.references import References, fetch
from driftstack_operator.sessions.tracks import Track, Tracks
from driftstack_operator.settings import Settings
from driftstack_operator.store import Store

FAIR: Final = 10.0
"""Seconds that a start has at least after this operator's first sight, however old its pod is by then."""
LIVING: Final = 1.0
"""Seconds that an agent on a silent node has to say that it lives."""
ONE_AT_A_TIME: Final = 2.0
"""Seconds from when a warm pod has gone until the next gives way to the same session: the scheduler tries again."""
LOOK_AGAIN: Final = 0.25
NEWS: Final = timedelta(minutes=5)
"""For how long a session that an operator before this one called ready may still lack its Event."""

logger = get_logger(__name__)


class Sight:
    """Observes sessions.

    Args:
        kube: for direct looks.
        references: what sessions refer to.
        store: what the watches brought.
        tracks: what this operator remembers.
        claims, asking: which agents are being asked.
        agents: for direct looks at those on silent nodes.
        pools: what is warm.
        settings: namespaces, pool and tiers.
    """

    def __init__(
        self,
        kube: KubeClient,
        references: References,
        store: Store,
        tracks: Tracks,
        claims: Claims,
        asking: Asking,
        agents: AgentClient,
        pools: Pools,
        settings: Settings,
    ) -> None:
        self._pools = pools
        self._agents = agents
        self._kube = kube
        self._references = references
        self._store = store
        self._tracks = tracks
        self._claims = claims
        self._asking = asking
        self._settings = settings

    async def look(self, uid: str) -> None:
        """Fetch what a session needs and the store doesn't have."""
        session = self._store.sessions.by_uid(uid)
        if session is None or session.ending:
            return
        if session.status.browser is not None:
            await self._look_for_pod(session, session.status.browser.pod)
            await self._look_for_agent(session, session.status.browser)
        else:
            await self._references.look(session)

    async def _look_for_pod(self, session: Session, name: str) -> None:
        """Fetch a started session's pod before it is called gone: its session may be known before it is."""
        track = self._tracks.get(session.uid)
        seen_to_go = track is not None and track.lost_pod is not None
        if name and not seen_to_go and not self._store.pods.group(session.uid):
            await fetch(self._kube, self._store.pods, POD, self._settings.browser_namespace, name)

    async def _look_for_agent(self, session: Session, browser: Browser) -> None:
        """Ask the agent before its node is called lost: perhaps only the API server had not heard of the node.

        After an outage that can take a minute: the kubelet's own picture has to be right before it reports.
        """
        track = self._tracks.get(session.uid)
        if track is None or not browser.address or self._node_lost_in(session, None, track) != 0:
            return
        with suppress(AgentError):
            await self._agents.health(browser.address, timeout=LIVING)
            track.answered_at = time.monotonic()
            logger.info("silent node, but its agent answers", session=session.uid, node=browser.node)

    def observe(self, uid: str) -> Observed:
        """Return what is known of the session now; no await, so that nothing changes before it is decided."""
        session = self._store.sessions.by_uid(uid)
        track = self._tracks.get(uid)
        pods = list(self._store.pods.group(uid).values())
        if session is None:
            return Observed(session=None, strays=tuple(pods))
        if track is None:
            track = self._tracks.begin(uid, int(session.metadata.resource_version or 0))
        pod, strays = self._pods(session, track, pods)
        account = self._references.account_of(session)
        starting = session.status.browser is None
        unstarted = pod is None and starting
        asked = pod is not None and track.asked_pod == pod.uid
        # One of its own that no node takes is given up for a warm one.
        homeless = starting and pod is not None and not pod.pooled and pod.unschedulable is not None
        pool, pool_refused = self._references.pool_of(session) if unstarted or homeless else (None, "")
        return Observed(
            session=session,
            pod=pod,
            strays=strays,
            node_lost_in=self._node_lost_in(session, pod, track),
            recorded=track.recorded,
            verdict=track.verdict,
            cap=cap_of(account, self._settings.tiers, now()) if account is not None else None,
            # Counting all others is for a session that may start; a large account's running ones would pay for it.
            ahead=self._ahead(session, track) if unstarted else 0,
            slug=self._references.slug_of(session),
            archetype=self._references.archetype_of(session),
            pool=pool,
            pool_refused=pool_refused,
            candidate=self._candidate(uid, pool) if starting and not track.cold else None,
            room_in=self._room_in(pod, track) if homeless else None,
            problem=track.problem,
            claim=track.claim if asked else None,
            claiming=asked and self._claims.running(uid),
            asked_for=time.monotonic() - track.asked_since if asked and track.asked_since is not None else 0.0,
            ready_refused=track.ready_refused,
            untold=not track.told_ready and _is_news(session),
            asking=self._asking.running(uid),
            idle=session.status.step == track.idle_step,
            waited=time.monotonic() - track.seen + self._head_start(session, track, pod),
            busy_for=_busy_for(session, track),
            leaving=_leaving(pod, track),
        )

    def started(self, uid: str, session: Session) -> bool:
        """Whether the session holds a slot of its account."""
        track = self._tracks.get(uid)
        reserved = track is not None and (track.reserved or track.lost_pod is not None)
        return holds_slot(session, pods=bool(self._store.pods.group(uid)), reserved=reserved)

    def _ahead(self, session: Session, own: Track) -> int:
        """Count the account's other sessions that go before this one, which has no browser."""
        namespace = session.metadata.namespace or ""
        starting = self._store.starting(namespace)
        with_browser = len(self._store.sessions.group(namespace)) - len(starting)
        return with_browser + sum(
            uid != session.uid and self._goes_before(uid, other, own) for uid, other in starting.items()
        )

    def _goes_before(self, uid: str, other: Session, own: Track) -> bool:
        # Who holds a slot already no longer queues for one.
        return self.started(uid, other) or (not own.reserved and self._waits_earlier(uid, other, own))

    def _waits_earlier(self, uid: str, other: Session, own: Track) -> bool:
        track = self._tracks.get(uid)
        if track is None or other.ending or track.recorded or track.verdict is not None:
            return False
        return track.order < own.order

    def _pods(
        self, session: Session, track: Track, pods: list[PodView]
    ) -> tuple[PodView | None, tuple[PodView, ...]]:
        """Return the session's own pod and the others; of several, the one that its status names, or was asked."""
        if session.status.browser is None:
            # Neither a warm pod that goes before its session was ready, nor one too many, is the end of it.
            going = tuple(pod for pod in pods if pod.uid in track.given_up or (pod.pooled and pod.deleting))
            pods = [pod for pod in pods if pod not in going]
            lost = track.lost_pod if track.lost_pod is not None and not track.lost_pod.pooled else None
            if not pods:
                return lost, going
        if not pods:
            return track.lost_pod, ()
        named = session.status.browser.pod if session.status.browser is not None else ""
        asked = track.asked_pod
        pods.sort(
            key=lambda pod: (
                pod.name != named,
                pod.uid != asked,
                not pod.pooled,  # else its own, which was given up for it
                pod.created_at is None,
                pod.created_at,
                pod.name,
            )
        )
        if named and pods[0].name != named:
            return track.lost_pod, tuple(pods)
        return pods[0], tuple(pods[1:])

    def _node_lost_in(self, session: Session, pod: PodView | None, track: Track) -> float | None:
        browser = session.status.browser
        node = pod.node if pod is not None else browser.node if browser is not None else ""
        patience = self._settings.node_patience_seconds
        lost_in = self._store.node_lost_in(node, patience) if node else None
        if lost_in is None or track.answered_at is None:
            return lost_in
        return max(lost_in, track.answered_at + patience - time.monotonic())

    def _head_start(self, session: Session, track: Track, pod: PodView | None) -> float:
        """Seconds that the start had gone on for under an operator before this one, by the age of its pod.

        Without a pod nothing had begun. Only pods of others are judged by the API server's clock, and never so that
        less than FAIR remains: an agent that waits for its claim since long deserves to be asked.
        """
        stored_at = session.metadata.creation_timestamp
        if pod is None or pod.created_at is None or track.pod_created_at is not None:
            return 0.0
        begun = pod.created_at if stored_at is None else max(pod.created_at, stored_at)
        most = max(0.0, self._settings.start_timeout_seconds - FAIR)
        return min(max(0.0, (track.seen_at - begun).total_seconds()), most)

    def _candidate(self, uid: str, pool: Pool | None) -> PodView | None:
        kept = self._pools.index.kept_for(uid)
        return kept if kept is not None or pool is None else self._pools.index.pick(pool.metadata.name)

    def _room_in(self, pod: PodView | None, track: Track) -> float | None:
        """Return in how many seconds a warm pod gives way to it: not before the scheduler saw the last one go."""
        if pod is None or not self._pools.room.lacked_by(pod):
            return None
        if track.gave_way is not None and self._store.pods.by_uid(track.gave_way.uid) is not None:
            track.gave_way_at = time.monotonic()
            return LOOK_AGAIN
        return max(0.0, track.gave_way_at + ONE_AT_A_TIME - time.monotonic())


def _busy_for(session: Session, track: Track) -> float:
    """Seconds since the present step was first seen marked; each step starts anew."""
    if session.status.step != track.busy_step:
        track.busy_step, track.busy_since = session.status.step, time.monotonic()
    return time.monotonic() - track.busy_since


def _is_news(session: Session) -> bool:
    """Whether the session became ready lately."""
    ready = session.status.stages.ready
    return session.status.phase is not Phase.CREATING and ready is not None and now() - parse_time(ready) < NEWS


def _leaving(pod: PodView | None, track: Track) -> float:
    """Seconds since the pod was first seen to be deleted."""
    if pod is None or not pod.deleting:
        return 0.0
    if track.leaving_since is None:
        track.leaving_since = time.monotonic()
    return time.monotonic() - track.leaving_since
