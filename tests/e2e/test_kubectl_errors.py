"""What a person who types kubectl is told when it is wrong, word by word of kubectl's own output."""

from __future__ import annotations

import json
from typing import Any

import pykube
import pytest

from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import apply_session, record_of, session, wait_ready


class Kubectl:
    """kubectl in an account's namespace."""

    def __init__(self, installation: Installation, namespace: str) -> None:
        self._installation = installation
        self.namespace = namespace

    def ok(self, *words: str, stdin: str | None = None) -> str:
        """Return what it said; it must have agreed."""
        done = self._installation.run_kubectl("-n", self.namespace, *words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *words: str, stdin: str | None = None) -> str:
        """Return what it said; it must have refused."""
        done = self._installation.run_kubectl("-n", self.namespace, *words, stdin=stdin)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def apply(self, name: str, **spec: Any) -> str:
        """Apply a manifest that must be refused."""
        return self.refused("apply", "-f", "-", stdin=json.dumps(session(self.namespace, name, **spec)))


@pytest.fixture
def kubectl(installation: Installation, account: Tenant) -> Kubectl:
    return Kubectl(installation, account.namespace)


def test_wrong_manifests_say_what_is_wrong(installation: Installation, kubectl: Kubectl) -> None:
    assert 'unknown field "spec.lable"' in kubectl.apply("a", lable="x")
    assert "spec.label: Too long: may not be more than 120" in kubectl.apply("b", label="x" * 121)
    assert 'Unsupported value: "hasty": supported values: "casual"' in kubectl.apply("c", behavioralProfile="hasty")
    assert "spec.archetype in body should match '^[a-z0-9_]{3,60}$'" in kubectl.apply("d", archetype="My-Phone")
    elsewhere = Kubectl(installation, "default").apply("e")
    assert "namespace default belongs to no account: create an Account" in elsewhere
    assert kubectl.ok("get", "bs", "-o", "name") == ""


@pytest.mark.parametrize("never", ["2027-02-30T00:00:00Z", "2027-04-31T12:00:00+01:00", "2027-01-01T24:30:00Z"])
def test_times_that_the_calendar_does_not_have_are_refused(kubectl: Kubectl, account: Tenant, never: str) -> None:
    """The key goes on as it is: nobody could say from when on it is refused."""
    change = json.dumps({"spec": {"expiresAt": never}})
    assert "must be of type date-time" in kubectl.refused("patch", "akey", "e2e", "--type=merge", "-p", change)
    overrides = json.dumps({"spec": {"overrides": {"expiresAt": never, "concurrentSessions": 1}}})
    assert "must be of type date-time" in kubectl.refused(
        "patch", "account", account.name, "--type=merge", "-p", overrides
    )


def test_an_unknown_archetype_is_told_in_the_record(
    kubectl: Kubectl, account: Tenant, kube: pykube.HTTPClient
) -> None:
    uid = apply_session(kube, account.namespace, "odd", archetype="no_such_device").uid
    record_of(kube, account.namespace, uid)
    for shown in (kubectl.ok("get", "driftstack"), kubectl.ok("describe", "bsr", uid)):
        assert "UnknownArchetype" in shown
        assert "no_such_device" in shown
    assert account.get(f"ses_{uid}")["status"] == "errored"


def test_a_session_cannot_be_edited(kubectl: Kubectl, account: Tenant, kube: pykube.HTTPClient) -> None:
    apply_session(kube, account.namespace, "fixed", label="first")
    wait_ready(kube, account.namespace, "fixed")
    for patch in ({"spec": {"label": "second"}}, {"spec": {"archetype": "android_phone"}}, {"spec": None}):
        said = kubectl.refused("patch", "bs", "fixed", "--type=merge", "-p", json.dumps(patch))
        assert "a session's spec can't change: delete it and create another" in said
    assert "a session's spec can't change" in kubectl.apply("fixed", label="second")
    status = json.dumps({"status": {"phase": "errored", "reason": "Forged"}})
    said = kubectl.refused("patch", "bs", "fixed", "--subresource=status", "--type=merge", "-p", status)
    assert "the status of a session is written by Driftstack alone" in said
    kubectl.ok("patch", "bs", "fixed", "--type=merge", "-p", status)  # not by that door: it changes nothing
    kubectl.ok("label", "bs", "fixed", "team=harbour")
    shown = json.loads(kubectl.ok("get", "bs", "-l", "team=harbour", "-o", "json"))["items"]
    assert [(each["spec"]["label"], each["status"]["phase"]) for each in shown] == [("first", "ready")]
