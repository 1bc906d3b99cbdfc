"""Many clients that create and delete at once, by both doors, and an observer that counts browsers meanwhile."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pykube

from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import BROWSERS, BrowserSession, eventually, session

SESSION_REF = "driftstack.dev/session-ref"
_QUOTA = "driftstack-sessions"
_CHANCE = random.SystemRandom()
_CHARGED = "count/browsersessions.driftstack.dev"


class Browsers:
    """Counts an account's started browsers from the pods' own watch, which tells every change in its order.

    A started browser is a pod that nobody has told to go; one that was told (it has a deletionTimestamp) is ending.

    Attributes:
        most: most that were started at any moment.
        most_with_ending: the same with those that were ending.
    """

    def __init__(self, namespace: str) -> None:
        self._prefix = f"{namespace}/"
        self._started: set[str] = set()
        self._ending: set[str] = set()
        self.most = self.most_with_ending = self.seen = 0

    def take(self, event: dict[str, Any]) -> None:
        """Take an event of the watch in."""
        meta = event["object"]["metadata"]
        if not meta.get("annotations", {}).get(SESSION_REF, "").startswith(self._prefix):
            return
        uid = meta["uid"]
        self.seen += event["type"] == "ADDED"
        self._started.discard(uid)
        self._ending.discard(uid)
        if event["type"] != "DELETED":
            (self._ending if "deletionTimestamp" in meta else self._started).add(uid)
        self.most = max(self.most, len(self._started))
        self.most_with_ending = max(self.most_with_ending, len(self._started) + len(self._ending))

    @contextmanager
    def watched(self, installation: Installation) -> Iterator[None]:
        """Watch for the time of the block; it ends when the watch has told of everything until then."""
        config = pykube.KubeConfig.from_file(str(installation.kubeconfig))
        kube = pykube.HTTPClient(config, timeout=None)
        listed = kube.get(version="v1", namespace=BROWSERS, url="pods").json()
        for item in listed["items"]:
            self.take({"type": "ADDED", "object": item})
        query = {"watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"]}
        stream = kube.get(version="v1", namespace=BROWSERS, url="pods", params=query, stream=True)
        stop = threading.Event()

        def follow() -> None:
            for line in stream.iter_lines():
                event = json.loads(line)
                self.take(event)
                if stop.is_set() and event["object"]["metadata"]["name"] == marker:
                    return

        marker = f"storm-over-{_CHANCE.randrange(16**8):08x}"
        thread = threading.Thread(target=follow, name="browsers")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            _mark(kube, marker)
            thread.join(30)
            stream.close()
            kube.session.close()
            assert not thread.is_alive(), "the watch did not tell of the last pod"


def _mark(kube: pykube.HTTPClient, name: str) -> None:
    """Make a pod that no node will run and take it away: its event comes after all that were before."""
    spec = {
        "schedulingGates": [{"name": "driftstack.dev/never"}],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "none",
                "image": "none",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }
    pod = pykube.Pod(kube, {"metadata": {"name": name, "namespace": BROWSERS}, "spec": spec})
    pod.create()
    pod.delete()


@dataclass
class Tally:
    """What the clients met.

    Attributes:
        rest: answers by status.
        kubectl: outcomes of creates and deletes by the API server: `created`, `deleted`, or the refusal.
        made: uids of all sessions.
        again: seconds from a DELETE's 204 to the next create's 201, of one and the same client.
        wrong: whatever must not happen, in words.
    """

    rest: Counter[int] = field(default_factory=Counter)
    kubectl: Counter[str] = field(default_factory=Counter)
    made: set[str] = field(default_factory=set)
    again: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Storm:
    """Clients of one account, half of them by REST; each creates, waits a moment, deletes, and so on.

    Args:
        tenant: the account; its cap should be less than the number of clients.
    """

    def __init__(self, installation: Installation, tenant: Tenant, *, rest: int = 7, kubectl: int = 5) -> None:
        self._installation = installation
        self._tenant = tenant
        self._clients = [self._by_rest] * rest + [self._by_kubectl] * kubectl
        self.tally = Tally()

    def blow(self, seconds: float) -> Tally:
        """Let all clients loose for so long; each takes away what it has made."""
        until = time.monotonic() + seconds
        with ThreadPoolExecutor(len(self._clients)) as pool:
            for done in [pool.submit(client, until) for client in self._clients]:
                done.result()
        return self.tally

    # -- by REST

    def _by_rest(self, until: float) -> None:
        headers = {"Authorization": f"Bearer {self._tenant.key}"}
        with httpx2.Client(base_url=self._installation.url, headers=headers, timeout=60, trust_env=False) as api:
            freed: float | None = None
            while time.monotonic() < until:
                made = self._post(api, until)
                if made is None:
                    continue
                if freed is not None:
                    self.tally.again.append(time.monotonic() - freed)
                time.sleep(_CHANCE.uniform(0.3, 2))
                freed = self._end(api, made)

    def _post(self, api: httpx2.Client, until: float) -> str | None:
        answer = api.post("/v1/sessions", json={"label": "storm"})
        self._note(answer, {201, 429, 503})
        if answer.status_code == 201:
            made: str = answer.json()["id"]
            self.tally.made.add(made.removeprefix("ses_"))
            return made
        time.sleep(min(0.1, max(0.0, until - time.monotonic())))
        return None

    def _end(self, api: httpx2.Client, made: str) -> float:
        for _ in range(6):
            answer = api.delete(f"/v1/sessions/{made}")
            self._note(answer, {204, 503})
            if answer.status_code == 204:
                break
        return time.monotonic()

    def _note(self, answer: httpx2.Response, expected: set[int]) -> None:
        self.tally.rest[answer.status_code] += 1
        if answer.status_code not in expected:
            self.tally.wrong.append(f"{answer.request.method}: {answer.status_code} {answer.text[:300]}")
        elif answer.status_code in (429, 503) and "Retry-After" not in answer.headers:
            self.tally.wrong.append(f"{answer.status_code} without Retry-After")

    # -- by kubectl, which is the API server

    def _by_kubectl(self, until: float) -> None:
        kube = pykube.HTTPClient(pykube.KubeConfig.from_file(str(self._installation.kubeconfig)), timeout=30)
        number = 0
        while time.monotonic() < until:
            number += 1
            made = BrowserSession(kube, session(self._tenant.namespace, f"{id(kube):x}-{number}"))
            if self._try("created", made.create):
                self.tally.made.add(made.uid)
                time.sleep(_CHANCE.uniform(0.3, 2))
                self._try("deleted", made.delete)
            else:
                time.sleep(0.3)
        kube.session.close()

    def _try(self, what: str, act: Any) -> bool:
        try:
            act()
        except (pykube.exceptions.HTTPError, pykube.exceptions.PyKubeError) as error:
            expected = "exceeded quota" in str(error) and what == "created"
            self.tally.kubectl["exceeded quota" if expected else str(error)] += 1
            if not expected:
                self.tally.wrong.append(f"{what}: {error}")
            return False
        self.tally.kubectl[what] += 1
        return True


def charged(kube: pykube.HTTPClient, namespace: str) -> int:
    """Return how many sessions the API server counts in a namespace."""
    quota = pykube.ResourceQuota.objects(kube, namespace=namespace).get(name=_QUOTA)
    return int(quota.obj.get("status", {}).get("used", {}).get(_CHARGED, -1))


class Floor:
    """What the cluster itself needs to free a slot of a quota: the same with Secrets, and nothing of ours."""

    def __init__(self, kube: pykube.HTTPClient, namespace: str) -> None:
        self._kube = kube
        self._meta = {"name": "floor", "namespace": namespace}
        pykube.ResourceQuota(kube, {"metadata": self._meta, "spec": {"hard": {"count/secrets": "1"}}}).create()
        eventually(self._create, 20, "the quota of the floor counts")

    def measure(self) -> float:
        """Return the seconds from a delete's answer to that of the next create."""
        pykube.Secret(self._kube, {"metadata": self._meta}).delete()
        begun = time.monotonic()
        eventually(self._create, 20, "the slot is free")
        return time.monotonic() - begun

    def _create(self) -> bool:
        try:
            pykube.Secret(self._kube, {"metadata": self._meta}).create()
        except pykube.exceptions.HTTPError as error:
            if "quota" not in str(error):
                raise
            return False
        return True


def live(kube: pykube.HTTPClient, namespace: str) -> int:
    """Return how many sessions there are."""
    return len(BrowserSession.objects(kube, namespace=namespace))
