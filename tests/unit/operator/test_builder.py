"""The browser pod, compared as a whole."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kubernetes_validate import validate

from driftstack_operator.pods.builder import Owner, build_pod, build_warm_pod, taking, template_of
from driftstack_operator.pods.view import read_pod
from tests.unit.operator.builders import UID, pool

OWNER = Owner(UID, "acct-acme", "one")
EXPECTED: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": f"browser-{UID}",
        "namespace": "driftstack-browsers",
        "labels": {
            "app.kubernetes.io/name": "driftstack-browser",
            "driftstack.dev/session": UID,
            "driftstack.dev/state": "claimed",
            "driftstack.dev/pool": "default",
        },
        "annotations": {"driftstack.dev/session-ref": "acct-acme/one", "driftstack.dev/token-key": "k1"},
    },
    "spec": {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "activeDeadlineSeconds": 1260,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "Localhost", "localhostProfile": "driftstack/chromium.json"},
        },
        "containers": [
            {
                "name": "browser",
                "image": "driftstack.local/agent:0123456789ab",
                "imagePullPolicy": "IfNotPresent",
                "env": [{"name": "DRIFTSTACK_AGENT_TOKEN", "value": "secret"}],
                "ports": [{"name": "agent", "containerPort": 8300, "protocol": "TCP"}],
                "resources": {
                    "requests": {"cpu": "250m", "memory": "512Mi"},
                    "limits": {"memory": "1Gi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "tmp", "mountPath": "/tmp"},
                    {"name": "shm", "mountPath": "/dev/shm"},
                ],
                "terminationMessagePolicy": "FallbackToLogsOnError",
            }
        ],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
        ],
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["203.0.113.53"]},
    },
}


def build(duration: int | None = None, **spec: Any) -> dict[str, Any]:
    return build_pod(pool(**spec), OWNER, token="secret", token_key="k1", max_duration_seconds=duration)


def test_whole_pod() -> None:
    resources = {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}}
    assert build(1200, nameservers=["203.0.113.53"], resources=resources) == EXPECTED


def test_plainest_pool_leaves_out_what_it_does_not_say() -> None:
    spec = build()["spec"]
    assert spec["dnsPolicy"] == "Default"
    assert spec["containers"][0]["resources"] == {}
    left_out = {
        "activeDeadlineSeconds",
        "dnsConfig",
        "hostUsers",
        "runtimeClassName",
        "nodeSelector",
        "tolerations",
    }
    assert left_out.isdisjoint(spec)


def test_placement_and_isolation_of_the_pool() -> None:
    spec = build(
        userNamespace=True,
        runtimeClassName="gvisor",
        nodeSelector={"browsers": "yes"},
        tolerations=[{"key": "browsers", "operator": "Exists"}],
        seccompProfile="other.json",
        sharedMemory="1Gi",
    )["spec"]
    assert spec["hostUsers"] is False
    assert spec["runtimeClassName"] == "gvisor"
    assert spec["nodeSelector"] == {"browsers": "yes"}
    assert spec["tolerations"] == [{"key": "browsers", "operator": "Exists"}]
    assert spec["securityContext"]["seccompProfile"]["localhostProfile"] == "other.json"
    assert spec["volumes"][1]["emptyDir"]["sizeLimit"] == "1Gi"


@pytest.mark.parametrize("version", ["1.33", "1.37"])
def test_kubernetes_schema_accepts_it(version: str) -> None:
    body = build(
        60, userNamespace=True, tolerations=[{"key": "a", "operator": "Exists"}], nameservers=["203.0.113.53"]
    )
    validate(body, version, strict=True)


def test_no_secret_but_the_token_and_nothing_of_this_machine() -> None:
    assert str(build()).count("secret") == 1
    assert str(Path.home()) not in str(build())


def warm_pod(**spec: Any) -> dict[str, Any]:
    return build_warm_pod(pool(**spec), "warm-1", token="secret", token_key="k1")


def test_warm_pod_is_a_cold_one_that_belongs_to_its_pool() -> None:
    warm, cold = warm_pod(), build_pod(pool(), OWNER, token="secret", token_key="k1")
    assert warm["spec"] == cold["spec"]
    assert warm["metadata"] == {
        "name": "warm-1",
        "namespace": "driftstack-browsers",
        "labels": {
            "app.kubernetes.io/name": "driftstack-browser",
            "driftstack.dev/state": "warm",
            "driftstack.dev/pool": "default",
        },
        "annotations": {
            "driftstack.dev/token-key": "k1",
            "driftstack.dev/template": template_of(pool(), "k1"),
        },
        "ownerReferences": [
            {
                "apiVersion": "driftstack.dev/v1alpha1",
                "kind": "BrowserPool",
                "name": "default",
                "uid": "",
                "controller": True,
            }
        ],
    }


def test_template_changes_with_what_pods_are_made_of_and_nothing_else() -> None:
    same = [pool(), pool(replicas=9), pool(maxAgeSeconds=60), pool(selectable=True)]
    assert {template_of(each, "k1") for each in same} == {template_of(pool(), "k1")}
    changed = [pool(image="another"), pool(sharedMemory="1Gi"), pool(runtimeClassName="gvisor")]
    hashes = {template_of(each, "k1") for each in changed} | {template_of(pool(), "k2"), template_of(pool(), "k1")}
    assert len(hashes) == 5


def test_taking_tests_the_state_and_counts_the_deadline_from_the_pods_start() -> None:
    view = read_pod({**warm_pod(), "status": {"startTime": "2026-05-12T12:00:00Z"}})
    moment = datetime(2026, 5, 12, 13, 0, 0, tzinfo=UTC)
    patch = taking(view, OWNER, moment=moment, max_duration_seconds=600)
    assert [(step["op"], step["path"], step["value"]) for step in patch] == [
        ("test", "/metadata/uid", ""),
        ("test", "/metadata/deletionTimestamp", None),
        ("test", "/metadata/labels/driftstack.dev~1state", "warm"),
        ("replace", "/metadata/labels/driftstack.dev~1state", "claimed"),
        ("add", "/metadata/labels/driftstack.dev~1session", UID),
        ("add", "/metadata/annotations/driftstack.dev~1session-ref", "acct-acme/one"),
        ("add", "/metadata/ownerReferences", []),
        ("add", "/spec/activeDeadlineSeconds", 3600 + 600 + 60),
    ]
    assert len(taking(view, OWNER, moment=moment)) == 7, "no duration, no deadline"


def test_kubelet_whose_clock_is_ahead_ends_no_session_early() -> None:
    body = warm_pod()
    body["metadata"]["creationTimestamp"] = "2026-05-12T12:00:00Z"
    view = read_pod({**body, "status": {"startTime": "2026-05-12T12:10:00Z"}})
    patch = taking(view, OWNER, moment=datetime(2026, 5, 12, 13, tzinfo=UTC), max_duration_seconds=600)
    assert patch[-1]["value"] == 3600 + 600 + 60
