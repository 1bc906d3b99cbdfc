"""What callers of the facade see while something is broken: replicas one by one, and calls without a pause."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pykube

from tests.e2e.chaos.machine import Machine
from tests.e2e.conftest import Tenant
from tests.e2e.objects import SYSTEM, eventually

FACADE = {"app.kubernetes.io/component": "facade"}
LONGEST = 15.0
"""Seconds within which every call is answered, whatever is broken: a look for the key and one for the session."""


@dataclass(frozen=True)
class Replica:
    """One pod of the facade."""

    name: str
    uid: str
    address: str

    def call(self, tenant: Tenant, method: str, path: str, **more: Any) -> httpx2.Response:
        """Send a request to this very pod."""
        headers = {"Authorization": f"Bearer {tenant.key}", **more.pop("headers", {})}
        with httpx2.Client(trust_env=False, timeout=60) as client:
            return client.request(method, f"http://{self.address}:8000{path}", headers=headers, **more)

    def ready(self) -> bool:
        """Whether it says that it can serve."""
        with contextlib.suppress(httpx2.HTTPError):
            return httpx2.get(f"http://{self.address}:8000/readyz", trust_env=False, timeout=2).status_code == 200
        return False

    def kill(self, machine: Machine) -> None:
        """End its process as the kernel does."""
        machine.kill(self.uid, signal.SIGKILL)


def replicas(kube: pykube.HTTPClient) -> list[Replica]:
    """Return the facade's pods that can serve."""
    pods = pykube.Pod.objects(kube, namespace=SYSTEM).filter(selector=FACADE)
    found = [
        Replica(pod.name, pod.metadata["uid"], pod.obj["status"].get("podIP", "")) for pod in pods if _serves(pod)
    ]
    return [replica for replica in found if replica.ready()]


def _serves(pod: pykube.Pod) -> bool:
    return bool(pod.ready) and "deletionTimestamp" not in pod.metadata


@contextlib.contextmanager
def pair(kube: pykube.HTTPClient) -> Iterator[tuple[Replica, Replica]]:
    """Have at least two replicas for a while, whose containers have not been restarted lately."""
    deployment = pykube.Deployment.objects(kube, namespace=SYSTEM).get(name="driftstack-facade")
    before = deployment.replicas
    deployment.scale(max(before, 2))
    try:
        first, second, *_ = eventually(lambda: len(found := replicas(kube)) >= 2 and found, 60, "two replicas")
        yield first, second
    finally:
        deployment.reload()
        deployment.scale(before)
        eventually(lambda: len(replicas(kube)) == before, 60, "as many replicas as before")


def renewed(kube: pykube.HTTPClient, killed: Replica) -> Replica:
    """Replace a replica whose container was killed: the next kill finds no back-off of the kubelet's."""
    others = {replica.uid for replica in replicas(kube)}
    pykube.Pod.objects(kube, namespace=SYSTEM).get(name=killed.name).delete()
    fresh = eventually(
        lambda: [replica for replica in replicas(kube) if replica.uid not in others | {killed.uid}],
        60,
        "a new replica",
    )
    return fresh[0]


@dataclass
class Seen:
    """One answer: when it came (monotonic), how long it took, its status (0 for no answer) and type."""

    what: str
    at: float
    took: float
    status: int
    problem: str = ""


@dataclass
class Caller:
    """Makes some calls over and over in a thread, and remembers every answer."""

    name: str
    url: str
    headers: dict[str, str]
    calls: dict[str, tuple[str, str]]
    seen: list[Seen] = field(default_factory=list)

    def run(self, over: threading.Event) -> None:
        """Call until told to stop."""
        with httpx2.Client(base_url=self.url, headers=self.headers, trust_env=False, timeout=60) as client:
            while not over.wait(0.1):
                for what, (method, path) in self.calls.items():
                    self.seen.append(_ask(client, what, method, path))


def _ask(client: httpx2.Client, what: str, method: str, path: str) -> Seen:
    started = time.monotonic()
    try:
        answer = client.request(method, path)
    except httpx2.HTTPError as error:
        return Seen(what, time.monotonic(), time.monotonic() - started, 0, repr(error))
    problem = answer.json()["type"].rpartition("/")[2] if answer.status_code >= 400 else ""
    return Seen(what, time.monotonic(), time.monotonic() - started, answer.status_code, problem)


@contextlib.contextmanager
def calling(replica: Replica, tenant: Tenant, session: str) -> Iterator[list[Caller]]:
    """Keep calling one replica from two sides while the block runs: reads in one thread, writes in the other."""
    headers = {"Authorization": f"Bearer {tenant.key}"}
    url = f"http://{replica.address}:8000"
    reads = {
        "whoami": ("GET", "/v1/whoami"),
        "read": ("GET", f"/v1/sessions/{session}"),
        "list": ("GET", "/v1/sessions"),
    }
    # A body that is refused after the caller is known, so that nothing is made.
    writes = {"step": ("POST", f"/v1/sessions/{session}/capture"), "unknown": ("DELETE", "/v1/sessions/ses_none")}
    probes = {"ready": ("GET", "/readyz"), "alive": ("GET", "/healthz")}
    callers = [
        Caller(name, url, headers, calls)
        for name, calls in (("reads", reads), ("writes", writes), ("probes", probes))
    ]
    over = threading.Event()
    threads = [threading.Thread(target=caller.run, args=(over,), name=caller.name) for caller in callers]
    for thread in threads:
        thread.start()
    try:
        yield callers
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


def check_bounded(callers: list[Caller]) -> None:
    """Assert that every call was answered in time, and with nothing but a success or a problem that explains."""
    for seen in (seen for caller in callers for seen in caller.seen):
        assert seen.status, f"no answer: {seen}"
        assert seen.took < LONGEST, f"too late: {seen}"
        assert seen.status < 500 or seen.problem == "feature-unavailable", f"not explained: {seen}"
        assert seen.what not in ("whoami", "read", "list") or seen.status in (200, 503), f"not true: {seen}"


def statuses(callers: list[Caller], what: str, since: float, until: float) -> set[int]:
    """Return what a call was answered with, of those answers that came in this time (monotonic)."""
    return {s.status for caller in callers for s in caller.seen if s.what == what and since <= s.at <= until}


def all_right(callers: list[Caller], calls: tuple[str, ...], since: float) -> float | None:
    """Return how long after this time (monotonic) the last of these calls was first answered with 200, seconds.

    None when one of them hasn't been yet.
    """
    first: dict[str, float] = {}
    for seen in (seen for caller in callers for seen in list(caller.seen)):
        if seen.what in calls and seen.status == 200 and seen.at - seen.took > since:
            first.setdefault(seen.what, seen.at - since)
    return max(first.values()) if len(first) == len(calls) else None


@contextlib.contextmanager
def deaf(machine: Machine, replica: Replica) -> Iterator[None]:
    """Drop what the API server sends on the replica's present connections; new ones work."""
    listed = machine.inside("ss", "-tnH", "state", "established", "sport = :6443")
    peers = [line.split()[3].rpartition(":") for line in listed.splitlines()]
    ports = [port for host, _, port in peers if host.strip("[]").removeprefix("::ffff:") == replica.address]
    assert ports, "the replica has no connection to the API server"
    with contextlib.ExitStack() as stack:
        for port in ports:
            rule = ("-p", "tcp", "--sport", "6443", "-d", replica.address, "--dport", port, "-j", "DROP")
            stack.enter_context(machine.rule("OUTPUT", *rule))
        yield


@contextlib.contextmanager
def cut_off(machine: Machine, replica: Replica) -> Iterator[None]:
    """Drop everything that the API server sends to a replica."""
    with machine.rule("OUTPUT", "-p", "tcp", "-d", replica.address, "--sport", "6443", "-j", "DROP"):
        yield
