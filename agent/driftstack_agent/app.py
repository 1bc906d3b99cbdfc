"""Puts the agent together, runs it, and ends it: everything between a started Chromium and the exit code."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

import msgspec

from driftstack_agent import chromium, logs
from driftstack_agent.agent import Agent
from driftstack_agent.browser import Browser
from driftstack_agent.endpoints import Endpoints, refusal
from driftstack_agent.http_server import HttpServer
from driftstack_agent.reaper import Reaper
from driftstack_agent.settings import Settings
from driftstack_common.protocol import EndReason, Termination

TERMINATION_LIMIT: Final = 4096
"""Most bytes of a termination message; the kubelet cuts longer ones."""
MESSAGE_LENGTH: Final = 1024
"""Most characters of its message: what the session's record keeps of it."""
EXIT_CODES: Final = {EndReason.IDLE: 0, EndReason.DURATION: 0, EndReason.TERMINATED: 143}
"""Exit code by reason; 1 for the others."""


def run(settings: Settings, process: chromium.Process) -> int:
    """Serve until the agent ends; return the exit code."""
    logs.setup()
    termination = asyncio.run(_serve(settings, process))
    code = EXIT_CODES.get(termination.reason, 1)
    logs.info("ended", reason=termination.reason, message=termination.message, exit_code=code)
    return code


async def _serve(settings: Settings, process: chromium.Process) -> Termination:
    loop = asyncio.get_running_loop()
    reaper = Reaper()
    browser = Browser(process, reaper.watch(process.pid))
    agent = Agent(browser, settings.start_seconds)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.end, EndReason.TERMINATED, signal.Signals(number).name)
    server = HttpServer(Endpoints(agent, settings.token).handle, refusal)
    starting = asyncio.create_task(agent.start())
    try:
        port = await server.start(settings.listen, settings.port)
        logs.info("listening", address=settings.listen, port=port)
    except OSError as error:
        agent.end(EndReason.START_FAILED, f"cannot listen on {settings.listen}:{settings.port}: {error}")
    termination = await agent.ended
    write_termination(settings.termination_log, termination)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await server.close()
    await agent.close()
    reaper.close()
    return termination


def write_termination(path: str, termination: Termination) -> None:
    """Write the termination message with the end of the log, cut to what the kubelet keeps."""
    data = fitted(msgspec.structs.replace(termination, log=logs.tail()))
    try:
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o644)) as file:
            file.write(data)
    except OSError as error:
        logs.error("termination message not written", path=path, error=str(error))


def fitted(termination: Termination) -> bytes:
    """Return the message as JSON of at most TERMINATION_LIMIT bytes: the log's oldest lines go first."""
    message = termination.message[-MESSAGE_LENGTH:]  # the end of a message is where the cause stands
    termination = msgspec.structs.replace(termination, message=message)
    while len(data := msgspec.json.encode(termination)) > TERMINATION_LIMIT:
        if termination.log:
            termination = msgspec.structs.replace(termination, log=termination.log.partition("\n")[2])
        else:  # escapes may make a character six bytes
            termination = msgspec.structs.replace(termination, message=message[-TERMINATION_LIMIT // 16 :])
    return data
