"""One process that answers for the agents of all pods that kwok fakes, by the agent's protocol.

It listens on every address of its network namespace; which agent is meant, the address that was called tells. The
last claim wins: kwok uses the addresses of removed pods again, and no such agent hears of a pod's end.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import uvloop
from aiohttp import web

from driftstack_common.names import AGENT_PORT
from driftstack_common.protocol import (
    CLAIM_PATH,
    HEALTH_PATH,
    Activity,
    AgentState,
    Answer,
    Claim,
    Claimed,
    Health,
    Problem,
    ProblemCode,
    Sandbox,
)

BROWSER: Final = "HeadlessChrome/0.0"
SANDBOX: Final = Sandbox(user_namespace=True, seccomp_filters=2, browser_seccomp_filters=1)


class Agents:
    """The agents of all addresses: who has claimed which."""

    def __init__(self) -> None:
        self._holders: dict[str, str] = {}

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request as the agent at the address that it came to."""
        assert request.transport is not None
        address: str = request.transport.get_extra_info("sockname")[0]
        if request.path == HEALTH_PATH:
            state = AgentState.CLAIMED if address in self._holders else AgentState.WARM
            return _answer(Health(state=state, browser=BROWSER, sandbox=SANDBOX))
        if request.path == CLAIM_PATH:
            claim = msgspec.json.decode(await request.read(), type=Claim)
            self._holders[address] = claim.session
            return _answer(Claimed(session=claim.session, browser=BROWSER, sandbox=SANDBOX))
        holder = self._holders.get(address)
        if holder is not None and request.path == f"/sessions/{holder}":
            return _answer(Activity(session=holder, step=None, idle_seconds=0.0))
        return _answer(Problem(code=ProblemCode.NOT_FOUND, message="a faked agent has no browser"), 404)


def _answer(body: Answer, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


async def serve() -> None:
    """Answer until cancelled."""
    runner = web.ServerRunner(web.Server(Agents().answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", AGENT_PORT, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
