"""Everything that endpoints call, put together once per process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from driftstack_api.agents import Agents
from driftstack_api.auth import Authenticator
from driftstack_api.caches import Caches
from driftstack_api.devtools.tokens import ConnectTokens
from driftstack_api.devtools.tunnels import Tunnels
from driftstack_api.keys.service import Keys
from driftstack_api.last_used import LastUsed
from driftstack_api.looks import Looks
from driftstack_api.mounted_keys import MountedKeys
from driftstack_api.rate_limits.limiter import RateLimiter
from driftstack_api.rate_limits.shared import SharedBuckets
from driftstack_api.sessions.create import Creator
from driftstack_api.sessions.marks import Marks
from driftstack_api.sessions.service import Sessions
from driftstack_api.sessions.steps import Steps
from driftstack_api.settings import Settings
from driftstack_api.usage.service import Usage
from driftstack_api.webhooks.deliveries import Deliveries
from driftstack_api.webhooks.service import Webhooks
from driftstack_api.webhooks.targets import Targets
from driftstack_common.failpoints import Failpoints
from driftstack_common.kube.client import KubeClient
from driftstack_common.kube.reflector import DEFAULT_TIMING, Timing
from driftstack_common.webhooks.targets import Lookup, look_up

DRAIN_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Dependencies:
    """What the facade talks to, and the keys of connect URLs; with failpoints, tests can arm them.

    Attributes:
        lookup: resolves the names in URLs of webhook endpoints.
    """

    kube: KubeClient
    agents: Agents
    connect_keys: MountedKeys
    timing: Timing = DEFAULT_TIMING
    failpoints: Failpoints | None = None
    lookup: Lookup = look_up


class Services:
    """The facade's services; `run` keeps their caches."""

    def __init__(self, settings: Settings, dependencies: Dependencies) -> None:
        kube = dependencies.kube
        self.caches = Caches(kube, settings.system_namespace, settings.fresh_seconds, dependencies.timing)
        self.agents = dependencies.agents
        looks = Looks(kube)
        self.authenticator = Authenticator(self.caches, looks)
        self.marks = Marks(kube, self.caches.sessions)
        self.sessions = Sessions(kube, looks, self.caches, self.marks)
        self.steps = Steps(self.sessions, self.caches.sessions, self.marks)
        self.creator = Creator(kube, self.caches, self.sessions)
        self.tokens = ConnectTokens(dependencies.connect_keys)
        self.tunnels = Tunnels(self.caches, self.authenticator, self.sessions, self.steps, self.agents)
        self.public_url = settings.public_url
        self.keys = Keys(kube, looks, self.caches)
        self.usage = Usage(self.caches, self.agents)
        targets = Targets(settings.webhook_rules, dependencies.lookup)
        self.webhooks = Webhooks(kube, looks, self.caches, targets, enabled=settings.webhooks)
        self.deliveries = Deliveries(kube, looks, self.caches, self.webhooks)
        self.last_used = LastUsed(kube)
        self._shared = SharedBuckets(settings.redis) if settings.redis is not None else None
        self.rate_limiter = RateLimiter(settings.tiers, self._shared)
        self.tiers = settings.tiers

    async def run(self) -> None:
        """Keep the caches and watch over what is open; when cancelled, let the writes under way end first."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.caches.run(), name="caches")
                group.create_task(self.tunnels.run(), name="devtools")
                group.create_task(self.last_used.run(), name="last used")
                if self._shared is not None:
                    group.create_task(self._shared.run(), name="shared rate limits")
        except asyncio.CancelledError:
            await asyncio.gather(self.marks.drain(DRAIN_SECONDS), self.last_used.drain(DRAIN_SECONDS))
            raise


def services(request: Request) -> Services:
    """Return the services of the app that answers this request."""
    found: Services = request.app.state.services
    return found
