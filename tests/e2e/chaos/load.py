"""Other people's sessions, made and ended all the time while something breaks."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import httpx2

from tests.e2e.conftest import Tenant

PATIENCE = 30.0
"""Seconds for which a client asks again when a component is away."""


@dataclass
class Load:
    """Workers, each with one session at a time: create, navigate, delete, again.

    Attributes:
        ended: ids of the sessions whose DELETE was answered.
        wrong: what a client must never see: a 500, or no answer for too long.
    """

    account: Tenant
    workers: int = 2
    ended: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.workers)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(3 * PATIENCE)

    def _work(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            key = f"load-{threading.get_ident()}-{number}-{time.monotonic_ns()}"
            created = self._ask("POST", "/v1/sessions", {"Idempotency-Key": key, "Prefer": "wait=10"})
            if created is None or created.status_code != 201:
                continue
            session = created.json()["id"]
            self._ask("POST", f"/v1/sessions/{session}/navigate", body={"url": "about:blank"})
            if self._ask("DELETE", f"/v1/sessions/{session}") is not None:
                self.ended.append(session)

    def _ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: dict[str, str] | None = None
    ) -> httpx2.Response | None:
        """Ask until there is an answer other than «not now»."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                answer = self.account.api.request(method, path, headers=headers, json=body or {}, timeout=40)
            except httpx2.TransportError:
                time.sleep(0.1)
                continue
            if answer.status_code == 500:
                self.wrong.append(f"{method} {path}: {answer.text}")
            if answer.status_code != 503:
                return answer
            time.sleep(0.1)
        self.wrong.append(f"{method} {path}: no answer in {PATIENCE:.0f} s")
        return None
