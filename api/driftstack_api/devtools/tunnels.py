"""All DevTools connections of this replica: how they begin, and that they don't outlive what let them in."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

from driftstack_api.agents import Agents
from driftstack_api.auth import WRITE_SESSIONS, Authenticator, Caller
from driftstack_api.caches import Caches
from driftstack_api.devtools.relay import Relay
from driftstack_api.metrics import DEVTOOLS_CLOSED, DEVTOOLS_OPEN
from driftstack_api.problems import Problem, unavailable
from driftstack_api.sessions.cache import Entry
from driftstack_api.sessions.service import Sessions
from driftstack_api.sessions.steps import END_SECONDS, Steps
from driftstack_api.sessions.view import state_of
from driftstack_common.kinds import Phase, Session
from driftstack_common.kube.errors import KubeError
from driftstack_common.logging import get_logger
from driftstack_common.names import session_id
from driftstack_common.protocol_devtools import CloseCode

MOST_TUNNELS: Final = 500
"""Connections of one replica; each holds some 700 KiB at most, when neither side reads."""
LOOK_SECONDS: Final = 0.5
"""Between looks for what no change tells of: keys that expire, and copies that may be out of date."""
RECORD_SECONDS: Final = 0.5
"""How long an ended session's record may take to say how it ended."""
READY_MS: Final = 10_000
KEY_REFUSED: Final = 4401
ACCOUNT_REFUSED: Final = 4403

_log = get_logger(__name__)


@dataclass(eq=False)
class Tunnel:
    """A connection, who opened it, and the session as it was then.

    Attributes:
        end: the task that finds out why it is over, once it is.
    """

    relay: Relay
    caller: Caller
    entry: Entry
    end: asyncio.Task[None] | None = None

    @property
    def topics(self) -> tuple[str, str]:
        """What its changes are told under: its account's namespace and its session's uid."""
        return self.caller.namespace, self.entry.uid


class Tunnels:
    """Opens connections, and closes them as soon as their key, account or session no longer allows them."""

    def __init__(
        self, caches: Caches, authenticator: Authenticator, sessions: Sessions, steps: Steps, agents: Agents
    ) -> None:
        self._caches = caches
        self._authenticator = authenticator
        self._sessions = sessions
        self._steps = steps
        self._agents = agents
        self._tunnels: dict[Relay, Tunnel] = {}
        self._watching: dict[str, set[Tunnel]] = {}
        self._opening = 0
        caches.credentials.listeners.append(self._changed)
        caches.sessions.signals.listeners.append(self._changed)

    async def open(self, caller: Caller, session: str, key: str) -> Relay:
        """Connect to a session's browser; return a relay that waits for its client.

        Args:
            key: the client's Sec-WebSocket-Key.

        Raises:
            Problem: as a step's, and feature-unavailable when there are too many.
        """
        if len(self._tunnels) + self._opening >= MOST_TUNNELS:
            raise unavailable("This replica has as many DevTools connections as it takes.")
        relay = Relay(self._opened, self._lost, self._closed)
        self._opening += 1
        try:
            entry = await self._steps.ready(caller, session, READY_MS)
            await self._steps.reach(entry, READY_MS, partial(self._dial, relay, key))
        except BaseException:
            relay.abandon()
            raise
        finally:
            self._opening -= 1
        self._tunnels[relay] = Tunnel(relay, caller, entry)
        return relay

    def give_up(self, relay: Relay) -> None:
        """Drop a connection whose client is gone already."""
        del self._tunnels[relay]
        relay.abandon()

    async def run(self) -> None:
        """Look for what no change tells of, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_at_the_clock(), name="devtools: expiry")
            group.create_task(self._ask_for_keys(), name="devtools: keys")

    async def _dial(self, relay: Relay, key: str, session: Session) -> None:
        relay.dialled(*await self._agents.devtools(session, key))

    def _opened(self, relay: Relay) -> None:
        tunnel = self._tunnels[relay]
        for topic in tunnel.topics:
            self._watching.setdefault(topic, set()).add(tunnel)
        DEVTOOLS_OPEN.inc()
        _log.info("devtools opened", **_names(tunnel))
        # What has changed since it was let in was told to nobody here.
        self._check(tunnel)

    def _closed(self, relay: Relay) -> None:
        tunnel = self._tunnels.pop(relay)
        for topic in tunnel.topics:
            self._watching[topic].discard(tunnel)
            if not self._watching[topic]:
                del self._watching[topic]
        DEVTOOLS_OPEN.dec()
        DEVTOOLS_CLOSED.labels(str(relay.code)).inc()
        seconds = round(time.monotonic() - relay.started, 1)
        traffic = {"received": relay.received, "sent": relay.sent}
        _log.info("devtools closed", code=relay.code, seconds=seconds, **traffic, **_names(tunnel))

    def _lost(self, relay: Relay) -> None:
        self._conclude(self._tunnels[relay])

    def _changed(self, topic: str) -> None:
        for tunnel in tuple(self._watching.get(topic, ())):
            self._check(tunnel)

    def _check(self, tunnel: Tunnel) -> None:
        """Close a connection whose key, account or session, as far as the copies know, don't allow it."""
        _refuse(tunnel, self._authenticator.objection(tunnel.caller, WRITE_SESSIONS))
        if tunnel.relay.open and (self._caches.sessions.get(tunnel.entry.uid) or tunnel.entry).ended:
            self._conclude(tunnel)

    def _conclude(self, tunnel: Tunnel) -> None:
        """Close a connection whose session has ended, or whose browser is gone, with which of them it is."""
        if tunnel.end is None:
            tunnel.end = asyncio.create_task(self._tell_end(tunnel))

    async def _tell_end(self, tunnel: Tunnel) -> None:
        entry, destroyed = tunnel.entry, False
        try:
            with contextlib.suppress(KubeError, TimeoutError):
                entry = await self._sessions.until(entry, lambda seen: seen.ended, END_SECONDS)
                async with asyncio.timeout(RECORD_SECONDS):
                    entry = await self._sessions.settled(entry)
            destroyed = entry.ended and state_of(entry).phase is Phase.DESTROYED
        finally:  # whatever it was, nobody else closes it
            if destroyed:
                tunnel.relay.close(CloseCode.ENDED, "the session has ended")
            else:
                tunnel.relay.close(CloseCode.BROWSER_FAILED, "the session's browser is gone")

    async def _look_at_the_clock(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for tunnel in tuple(self._tunnels.values()):
                self._check(tunnel)

    async def _ask_for_keys(self) -> None:
        """Ask the API server about keys while the copies can't be trusted; what can't be told changes nothing."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._caches.credentials_fresh:
                by_key: dict[str, list[Tunnel]] = {}
                for tunnel in self._tunnels.values():
                    by_key.setdefault(tunnel.caller.key.metadata.uid, []).append(tunnel)
                await asyncio.gather(*map(self._ask_for_key, by_key.values()))

    async def _ask_for_key(self, tunnels: list[Tunnel]) -> None:
        try:
            objection = await self._authenticator.ask_objection(tunnels[0].caller, WRITE_SESSIONS)
        except KubeError:
            return
        except Exception:  # one object that can't be read must not end the watch over all others
            _log.exception("a key can't be checked", **_names(tunnels[0]))
            return
        for tunnel in tunnels:
            _refuse(tunnel, objection)


def _refuse(tunnel: Tunnel, objection: Problem | None) -> None:
    if objection is not None:
        code = ACCOUNT_REFUSED if objection.slug == "forbidden" else KEY_REFUSED
        tunnel.relay.close(code, objection.detail)


def _names(tunnel: Tunnel) -> dict[str, str]:
    caller = tunnel.caller
    return {"session": session_id(tunnel.entry.uid), "account": caller.account.id, "api_key": caller.key.id}
