"""What must hold of every session that ended by a fault, and the ways to bring one about."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pykube

from driftstack_common.names import QUOTA_NAME, SESSION_QUOTA
from tests.e2e.chaos.report import Report
from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import (
    BROWSERS,
    BrowserPool,
    SessionRecord,
    apply_session,
    browser_pod,
    eventually,
    warm_pods,
)

WITHIN = 60.0
"""Seconds from a fault to the record."""


@dataclass
class Case:
    """A session and what is to become of it.

    Attributes:
        what: the fault, for the report.
        uid: the session's.
        reasons: those that are true; more than one where the kernel chooses.
        ran: an agent served the session, so that its log must be in the record.
        began: when the fault happened, monotonic seconds.
        within: seconds until the record must be there.
    """

    what: str
    uid: str
    reasons: tuple[str, ...]
    ran: bool = False
    began: float = field(default_factory=time.monotonic)
    within: float = WITHIN


class Scene:
    """One account and the sessions whose end is awaited.

    Args:
        report: where the seconds go.
    """

    def __init__(
        self, installation: Installation, kube: pykube.HTTPClient, account: Tenant, report: Report
    ) -> None:
        self._installation = installation
        self._kube = kube
        self._account = account
        self._report = report
        self._cases: list[Case] = []

    def start(self, name: str) -> str:
        """Create a session as kubectl would; return its uid."""
        return apply_session(self._kube, self._account.namespace, name).uid

    def ready(self, name: str) -> str:
        """Create a session by REST, wait until it is ready; return its uid."""
        return str(self._account.create(label=name)["id"]).removeprefix("ses_")

    def expect(self, what: str, uid: str, *reasons: str, ran: bool = False, within: float = WITHIN) -> None:
        """Note that a session's fault happens now."""
        self._cases.append(Case(what, uid, reasons, ran, within=within))

    def check(self, others: int = 0) -> None:
        """Wait for all ends, each within its time, and look at everything that must follow from them.

        Args:
            others: sessions of the account that live on.
        """
        waiting = list(self._cases)
        while waiting:
            for case in list(waiting):
                if self._record(case) is not None:
                    waiting.remove(case)
                    self._report.add(case.what, time.monotonic() - case.began)
                late = time.monotonic() - case.began
                assert case not in waiting or late < case.within, f"{case.what}: no record after {late:.0f} s"
            time.sleep(0.05)
        for case in self._cases:
            self._check(case)
        eventually(lambda: self._used() == str(others), 30, "every slot of the account is free")

    def _record(self, case: Case) -> SessionRecord | None:
        records = SessionRecord.objects(self._kube, namespace=self._account.namespace)
        found: SessionRecord | None = records.get_or_none(name=case.uid)
        return found

    def _check(self, case: Case) -> None:
        record = self._record(case)
        assert record is not None
        told = f"{case.what}: {json.dumps(record.spec, indent=1)}"
        assert record.spec["phase"] == "errored", told
        assert record.spec["reason"] in case.reasons, told
        assert record.spec["message"], told
        self._check_log(case, record.spec.get("agentLog", ""), told)
        name = f"{case.uid}.{record.spec['reason'].lower()}"
        events = pykube.Event.objects(self._kube, namespace=self._account.namespace)
        event = eventually(lambda: events.get_or_none(name=name), 10, f"{case.what}: its Event")
        assert (event.obj["type"], event.obj["involvedObject"]["name"]) == ("Warning", case.uid)
        shown = self._account.get(f"ses_{case.uid}")
        assert shown["status"] == "errored", told
        assert self._account.api.delete(f"/v1/sessions/ses_{case.uid}").status_code == 204
        eventually(lambda: browser_pod(self._kube, case.uid) is None, 30, f"{case.what}: no pod is left")

    def _check_log(self, case: Case, log: str, told: str) -> None:
        """Where an agent served, its last lines are there, each of them JSON and none with anything of a page."""
        assert len(log.encode()) <= 2048, told
        assert "http" not in log, told
        events = [json.loads(line)["event"] for line in log.splitlines() if line.startswith("{")]
        assert not case.ran or events, told

    def _used(self) -> str:
        quotas = pykube.ResourceQuota.objects(self._kube, namespace=self._account.namespace)
        used: dict[str, str] = quotas.get(name=QUOTA_NAME).obj["status"]["used"]
        return used[SESSION_QUOTA]


@contextlib.contextmanager
def pool(kube: pykube.HTTPClient, **spec: Any) -> Iterator[None]:
    """Have the pool look otherwise for as long as pods are made from it, none of them warm; others share it."""
    spec = {"replicas": 0, **spec}
    found = BrowserPool.objects(kube, namespace=BROWSERS).get(name="default")
    before = {name: found.obj["spec"].get(name) for name in spec}
    found.patch({"spec": spec}, subresource=None)
    try:
        eventually(lambda: not warm_pods(kube), 30, "nobody gets a pod that was warm before")
        yield
    finally:
        found.patch({"spec": before}, subresource=None)


def pod_of(kube: pykube.HTTPClient, uid: str) -> pykube.Pod:
    """Return a session's pod, waiting until it is made."""
    return eventually(lambda: browser_pod(kube, uid), 10, f"a pod for session {uid}")


@contextlib.contextmanager
def cordoned(installation: Installation, node: str) -> Iterator[None]:
    """Have no pod scheduled to a node for a while."""
    installation.run_kubectl("cordon", node)
    try:
        yield
    finally:
        installation.run_kubectl("uncordon", node)


def evict(installation: Installation, pods: Iterable[str]) -> None:
    """Ask for evictions, as a drain does."""
    for pod in pods:
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": BROWSERS},
        }
        url = f"/api/v1/namespaces/{BROWSERS}/pods/{pod}/eviction"
        _accepted(installation.run_kubectl("create", "--raw", url, "-f", "-", stdin=json.dumps(body)))


def bind(installation: Installation, pod: str, node: str) -> None:
    """Give a pod to a node that has no room for it, past the scheduler."""
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod, "namespace": BROWSERS},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    url = f"/api/v1/namespaces/{BROWSERS}/pods/{pod}/binding"
    _accepted(installation.run_kubectl("create", "--raw", url, "-f", "-", stdin=json.dumps(body)))


def _accepted(said: Any) -> None:
    assert said.returncode == 0, said.stderr
