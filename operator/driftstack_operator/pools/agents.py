"""Asks the agents of waiting pods whose they are: only what they say makes a pod one that may be taken.

The half of a claim that an operator left undone when it died is found by that: an agent that is held though its pod
is labelled warm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from driftstack_common.agent_client import AgentClient, AgentError, AgentProblem
from driftstack_common.agent_token import KeyRing
from driftstack_common.kinds import Device
from driftstack_common.protocol import Prepare, ProblemCode
from driftstack_operator.pods.view import PodView
from driftstack_operator.polls import Polls
from driftstack_operator.store import Store


class Answer(msgspec.Struct, frozen=True):
    """What an agent said: the uid of the session that holds it, None for nobody; or why it will not serve."""

    holder: str | None = None
    refusal: str = ""


class PoolAgents:
    """The agents of waiting pods.

    Args:
        agents: client to ask with.
        store: the pods.
        keys: makes the agents' tokens.
        answered: told each pod that waits, with what its agent said.

    Attributes:
        refused: why agents will not serve, by the uid of their pod.
    """

    def __init__(
        self, agents: AgentClient, store: Store, keys: KeyRing, answered: Callable[[PodView, Answer], None]
    ) -> None:
        self._agents = agents
        self._store = store
        self._keys = keys
        self._told = answered
        self._polls: Polls[Answer] = Polls("warm", self._answered, lambda error: Answer(refusal=repr(error)))
        self.refused: dict[str, str] = {}

    def ask(self, pod: PodView, device: Device | None) -> None:
        """Have an agent asked until it answers, unless it is being asked or has refused.

        Args:
            device: what its page is to show meanwhile, so that a session that wants the same is ready the sooner.
        """
        if not (pod.waits and pod.running and pod.address):
            return  # a refill is in no hurry: nobody is called before the kubelet says that somebody is there
        if pod.uid in self.refused or self._polls.running(pod.uid):
            return
        try:
            token = self._keys.token(pod.name, pod.token_key or None)
        except KeyError:
            self.refused[pod.uid] = f"agent key {pod.token_key!r} is no longer in the key ring"
            return
        self._polls.start(pod.uid, partial(self._once, pod, token, device))

    def forget(self, uid: str) -> None:
        """Ask no more, and forget what was said."""
        self._polls.cancel(uid)
        self.refused.pop(uid, None)

    def clear(self) -> None:
        """Ask no agent whose pod has stopped waiting, and forget what was said by those whose pods are gone."""
        for uid in self._polls.all():
            pod = self._store.pods.by_uid(uid)
            if pod is None or not pod.waits:
                self._polls.cancel(uid)
        self.refused = {uid: why for uid, why in self.refused.items() if self._store.pods.by_uid(uid) is not None}

    async def wait(self, seconds: float) -> None:
        """Wait for the answers of those that are asked now, at most so long."""
        await self._polls.wait(seconds)

    async def close(self) -> None:
        """Ask nobody any more."""
        await self._polls.close()

    async def _once(self, pod: PodView, token: str, device: Device | None) -> Answer | None:
        now = self._store.pods.by_uid(pod.uid)
        if now is None or not now.waits:
            return Answer(refusal="the pod is gone")
        try:
            if device is None:
                return Answer(holder=await self._agents.holder(pod.address, token))
            return Answer(holder=await self._agents.prepare(pod.address, token, Prepare(device=device)))
        except AgentProblem as problem:
            if problem.code is ProblemCode.NOT_FOUND and device is not None:  # an agent from before an upgrade
                return await self._once(pod, token, None)
            return None if problem.code is ProblemCode.STARTING else Answer(refusal=str(problem))
        except AgentError:
            return None

    def _answered(self, uid: str, answer: Answer) -> None:
        pod = self._store.pods.by_uid(uid)
        if pod is None or not pod.waits:
            return
        if answer.refusal:
            self.refused[uid] = answer.refusal
        self._told(pod, answer)
