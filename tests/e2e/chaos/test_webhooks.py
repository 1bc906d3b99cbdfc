"""Events and faults: every event arrives, and twice only where a fault fell between sending and writing it down."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pykube
import pytest

from driftstack_operator.webhooks.lanes import MOST
from tests.e2e.chaos.clocks import away, environment_of, kubeconfig_of
from tests.e2e.chaos.failpoints import Points
from tests.e2e.chaos.machine import Machine
from tests.e2e.chaos.report import Report
from tests.e2e.chaos.victims import Victim
from tests.e2e.conftest import Installation, Tenant
from tests.e2e.hooks import Hook, receiving, send
from tests.e2e.objects import BrowserSession, apply_session, eventually, phase, record_of, wait_ready
from tests.receivers.receiver import Receiver

PATIENCE = 120.0
"""Seconds for all events to arrive after the last fault."""


@pytest.fixture
def receiver(installation: Installation) -> Iterator[Receiver]:
    with receiving(installation) as receiver:
        yield receiver


class Dispatcher:
    """The real program with its own rights, on this machine: a kubelet would make it wait after each death."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        prefix = "DRIFTSTACK_WEBHOOKS_"
        own = {"KUBECONFIG": str(kubeconfig_of(installation, "dispatcher", folder)), "REPLICAS": "1"}
        own |= {"PROBE_PORT": "0", "METRICS_PORT": "0"}
        self._environment = environment_of(installation, "dispatcher") | {
            f"{prefix}{name}": value for name, value in own.items()
        }
        self._log = (folder / "log").open("wb")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "driftstack_operator.webhooks"],
            env=os.environ | self._environment,
            stdout=self._log,
            stderr=self._log,
        )

    def kill(self) -> None:
        """Kill it by SIGKILL: it can finish nothing."""
        assert self._process is not None
        assert self._process.poll() is None, "it has ended by itself"
        self._process.kill()
        self._process.wait()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            assert self._process is not None
            self._process.terminate()
            self._process.wait(timeout=30)
            self._log.close()


def test_dispatcher_is_killed_while_it_sends(
    machine: Machine,
    installation: Installation,
    kube: pykube.HTTPClient,
    account: Tenant,
    receiver: Receiver,
    report: Report,
    long: bool,
    tmp_path: Path,
) -> None:
    events, kills = (500, 20) if long else (100, 4)
    hook = Hook(kube, account, receiver, "/slow/0.05", paused=True)
    sent = {delivery.obj["spec"]["eventId"] for delivery in send(hook, events)}
    at: list[int] = []
    with away(kube, "dispatcher"):
        dispatcher = Dispatcher(installation, tmp_path)
        hook.object.patch({"spec": {"paused": False}})
        with dispatcher.running():
            for number in range(1, kills + 1):
                due = number * events // (kills + 2)
                eventually(lambda due=due: len(_arrived(receiver)) >= due, PATIENCE, f"{due} events have arrived")
                dispatcher.kill()
                at.append(len(receiver.received))
                dispatcher.start()
            eventually(lambda: _arrived(receiver) == sent, PATIENCE, "every event has arrived")
            eventually(lambda: set(hook.phases()) == {"delivered"}, PATIENCE, "every delivery says so")
    again = _repeated(receiver, at)
    print(f"{events} events, {kills} kills, {sum(again)} arrived twice: {again} by kill")
    report.add(f"dispatcher killed {kills} times during {events} deliveries: sent twice", lost=0)
    assert max(again, default=0) <= MOST, "no more than were on their way"
    assert sum(again) == len(receiver.received) - events, "nothing arrived twice but what was cut off"


def _arrived(receiver: Receiver) -> set[str]:
    return {each.event for each in list(receiver.received)}


def _repeated(receiver: Receiver, kills: list[int]) -> list[int]:
    """Return for each kill how many events it had sent again.

    Args:
        kills: how many requests there had been at each.
    """
    events = [each.event for each in receiver.received]
    last: dict[str, int] = {}
    blamed: Counter[int] = Counter()
    for index, event in enumerate(events):
        if event in last:  # the kill that lies between the two
            between = [number for number, at in enumerate(kills) if last[event] < at <= index]
            assert between, f"{event} arrived twice without a kill between"
            blamed[between[0]] += 1
        last[event] = index
    return [blamed[number] for number in range(len(kills))]


@pytest.mark.parametrize("point", ["before-create-webhookdeliveries", "after-create-webhookdeliveries"])
def test_operator_is_killed_while_sessions_end(
    point: str,
    failpoints: Points,
    kube: pykube.HTTPClient,
    account: Tenant,
    receiver: Receiver,
    report: Report,
    long: bool,
) -> None:
    hook = Hook(kube, account, receiver, "/ok")
    hook.wait_ready()
    names = [f"s-{number}" for number in range(8 if long else 3)]
    for name in names:
        apply_session(kube, account.namespace, name)
    uids = {wait_ready(kube, account.namespace, name).uid for name in names}
    victim = Victim(failpoints, failpoints.leader())
    victim.arm(point)
    for name in names:
        BrowserSession.objects(kube, namespace=account.namespace).get(name=name).delete()
    victim.since_death()
    for name in names:
        eventually(lambda name=name: phase(kube, account.namespace, name) is None, PATIENCE, f"{name} is gone")
    ends = Counter(each.obj["spec"]["eventId"] for each in hook.deliveries)
    assert len(ends) == ends.total() == len(uids)
    eventually(lambda: _arrived(receiver) == set(ends), PATIENCE, "as many events as ended sessions")
    for uid in uids:
        assert record_of(kube, account.namespace, uid).spec["phase"] == "destroyed"
    report.add(f"operator killed {point}: events of {len(uids)} ends", lost=len(uids) - len(ends))
    victim.replace()


def test_api_server_is_away(
    machine: Machine, kube: pykube.HTTPClient, account: Tenant, receiver: Receiver, report: Report, long: bool
) -> None:
    seconds = 30 if long else 15
    hook = Hook(kube, account, receiver, "/slow/0.05")
    hook.wait_ready()
    apply_session(kube, account.namespace, "one")
    wait_ready(kube, account.namespace, "one")
    sent = {delivery.obj["spec"]["eventId"] for delivery in send(hook, 60)}
    BrowserSession.objects(kube, namespace=account.namespace).get(name="one").delete()
    with machine.frozen("kube-apiserver"):
        time.sleep(seconds)  # an outage has a length; nothing can be asked meanwhile
    back = time.monotonic()
    eventually(lambda: sent < _arrived(receiver), PATIENCE, "every event has arrived, and the end of the session")
    report.add(f"API server frozen for {seconds} s: every event has arrived", time.monotonic() - back)
    eventually(lambda: set(hook.phases()) == {"delivered"}, PATIENCE, "every delivery says so")
    assert len(_arrived(receiver)) == len(sent) + 1
    print(f"{len(receiver.received) - len(_arrived(receiver))} of {len(receiver.received)} arrived twice")
