"""What breaks is told: a killed browser, a deleted pod, an image that isn't there."""

from __future__ import annotations

from collections.abc import Iterator

import pykube
import pytest

from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import (
    BROWSERS,
    BrowserPool,
    apply_session,
    browser_pod,
    eventually,
    record_of,
)

KILL_BROWSER = """
import os, pathlib
for entry in pathlib.Path("/proc").iterdir():
    if entry.name.isdigit():
        words = (entry / "cmdline").read_bytes()
        if b"chromium-headless-shell" in words and b"--type=" not in words:
            os.kill(int(entry.name), 9)
"""


def test_killed_browser(installation: Installation, account: Tenant, kube: pykube.HTTPClient) -> None:
    session = account.create()["id"]
    uid = session.removeprefix("ses_")
    pod = browser_pod(kube, uid)
    assert pod is not None
    installation.run_kubectl("exec", "-n", BROWSERS, pod.name, "--", "python3", "-c", KILL_BROWSER)
    record = record_of(kube, account.namespace, uid)
    assert (record.spec["phase"], record.spec["reason"]) == ("errored", "BrowserCrashed")
    assert account.get(session)["status"] == "errored"
    step = account.api.post(f"/v1/sessions/{session}/navigate", json={"url": "about:blank"})
    assert step.status_code == 410
    assert account.api.delete(f"/v1/sessions/{session}").status_code == 204
    assert account.get(session)["status"] == "errored"
    _warning(installation, account, "BrowserCrashed")


def test_deleted_pod(installation: Installation, account: Tenant, kube: pykube.HTTPClient) -> None:
    session = account.create()["id"]
    uid = session.removeprefix("ses_")
    pod = browser_pod(kube, uid)
    assert pod is not None
    pod.delete()
    record = record_of(kube, account.namespace, uid)
    assert (record.spec["phase"], record.spec["reason"]) == ("errored", "PodDeleted")
    eventually(lambda: account.get(session)["status"] == "errored", 10, "REST shows errored")


@pytest.fixture
def missing_image(kube: pykube.HTTPClient) -> Iterator[str]:
    """The pool's image replaced by one that no registry has."""
    pool = BrowserPool.objects(kube, namespace=BROWSERS).get(name="default")
    before = pool.obj["spec"]["image"]
    pool.patch({"spec": {"image": "driftstack.local/agent:missing"}}, subresource=None)
    yield "driftstack.local/agent:missing"
    pool.patch({"spec": {"image": before}}, subresource=None)


def test_missing_image(
    installation: Installation, account: Tenant, kube: pykube.HTTPClient, missing_image: str
) -> None:
    started = apply_session(kube, account.namespace, "no-image")
    record = record_of(kube, account.namespace, started.uid, seconds=60)
    assert (record.spec["phase"], record.spec["reason"]) == ("errored", "ImageUnavailable")
    assert missing_image in record.spec["message"]
    _warning(installation, account, "ImageUnavailable")
    eventually(lambda: browser_pod(kube, started.uid) is None, 30, "no pod is left")


def _warning(installation: Installation, account: Tenant, reason: str) -> None:
    def look() -> bool:
        words = ("get", "events", "-n", account.namespace, "--field-selector", f"type=Warning,reason={reason}")
        return reason in installation.run_kubectl(*words).stdout

    eventually(look, 10, f"a Warning event {reason}")
