"""One process that answers for the agents of all pods that kwok fakes, by the agent's protocol.

It listens on every address of its network namespace. Which agent is meant, the token tells: each pod has its own,
and kwok gives the addresses of removed pods to new ones.
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
    PREPARE_PATH,
    STATUS,
    Activity,
    AgentState,
    Answer,
    Claim,
    Claimed,
    Health,
    Holder,
    Problem,
    ProblemCode,
    Sandbox,
)

BROWSER: Final = "HeadlessChrome/0.0"
SANDBOX: Final = Sandbox(user_namespace=True, seccomp_filters=2, browser_seccomp_filters=1)


class Agents:
    """The agents of all pods: who has claimed which, by the pod's token."""

    def __init__(self) -> None:
        self._holders: dict[str, str] = {}

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request as the agent whose token it bears."""
        if request.path == HEALTH_PATH:
            return _answer(Health(state=AgentState.WARM, browser=BROWSER, sandbox=SANDBOX))
        token = request.headers.get("Authorization", "")
        if request.path == CLAIM_PATH and request.method == "POST":
            claim = msgspec.json.decode(await request.read(), type=Claim)
            return self._claim(token, claim.session)
        holder = self._holders.get(token)
        if request.path in (CLAIM_PATH, PREPARE_PATH):
            return _answer(Holder(session=holder))
        if holder is not None and request.path == f"/sessions/{holder}":
            return _answer(Activity(session=holder, step=None, idle_seconds=0.0))
        return _problem(ProblemCode.NOT_FOUND, "a faked agent has no browser")

    def _claim(self, token: str, session: str) -> web.Response:
        holder = self._holders.setdefault(token, session)
        if holder != session:
            return _problem(ProblemCode.HOLDER_CONFLICT, "another session has this pod", holder=holder)
        return _answer(Claimed(session=session, browser=BROWSER, sandbox=SANDBOX))


def _problem(code: ProblemCode, message: str, **details: str) -> web.Response:
    return _answer(Problem(code=code, message=message, details=details), STATUS[code])


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
