"""The manifest of a browser pod: plain values in, a Kubernetes object out. Pure."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any, Final

import msgspec

from driftstack_common.kinds import Pool, PoolSpec
from driftstack_common.kube.client import Body
from driftstack_common.names import (
    AGENT_PORT,
    ANNOTATION_SESSION,
    ANNOTATION_TEMPLATE,
    APP_BROWSER,
    LABEL_APP,
    LABEL_POOL,
    LABEL_SESSION,
    LABEL_STATE,
    STATE_CLAIMED,
    STATE_WARM,
    browser_pod_name,
)
from driftstack_operator.pods.view import ANNOTATION_TOKEN_KEY, PodView

USER: Final = 1000
"""uid and gid of agent and Chromium."""
SCRATCH_LIMIT: Final = "1Gi"
"""Most that a browser may keep on its node's disk (profile, cache), so that no page can fill it."""
GRACE_SECONDS: Final = 5
DEADLINE_SLACK: Final = 60
"""Seconds that the kubelet's clock stands behind the agent's own maximum duration."""


class Owner(msgspec.Struct, frozen=True):
    """The session that a pod is made for."""

    uid: str
    namespace: str
    name: str


def build_pod(
    pool: Pool,
    owner: Owner,
    *,
    token: str,
    token_key: str,
    max_duration_seconds: int | None = None,
    image_pull_policy: str = "IfNotPresent",
) -> Body:
    """Return the cold pod of a session, made from the pool's template.

    Args:
        token: the agent's, see `driftstack_common.agent_token`.
        max_duration_seconds: of the session; the kubelet ends the pod DEADLINE_SLACK seconds later.
    """
    spec = _pod_spec(pool.spec, token, image_pull_policy)
    if max_duration_seconds is not None:
        spec["activeDeadlineSeconds"] = max_duration_seconds + DEADLINE_SLACK
    meta = _meta(pool, browser_pod_name(owner.uid), STATE_CLAIMED, token_key)
    meta["labels"][LABEL_SESSION] = owner.uid
    meta["annotations"][ANNOTATION_SESSION] = f"{owner.namespace}/{owner.name}"
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def build_warm_pod(
    pool: Pool, name: str, *, token: str, token_key: str, image_pull_policy: str = "IfNotPresent"
) -> Body:
    """Return a pod that waits for whoever comes; it goes with its pool until a session takes it."""
    meta = _meta(pool, name, STATE_WARM, token_key)
    meta["annotations"][ANNOTATION_TEMPLATE] = template_of(pool, token_key, image_pull_policy)
    meta["ownerReferences"] = [
        {
            "apiVersion": pool.KIND.api_version,
            "kind": pool.KIND.name,
            "name": pool.metadata.name,
            "uid": pool.metadata.uid,
            "controller": True,  # `kubectl drain` refuses pods that nobody would start again
        }
    ]
    spec = _pod_spec(pool.spec, token, image_pull_policy)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def template_of(pool: Pool, token_key: str, image_pull_policy: str = "IfNotPresent") -> str:
    """Return a hash of all that a warm pod is made of, the key of its token included."""
    made_of = [pool.metadata.uid, token_key, _pod_spec(pool.spec, "", image_pull_policy)]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def taking(pod: PodView, owner: Owner, *, moment: datetime, max_duration_seconds: int | None = None) -> list[Body]:
    """Return the JSON patch that makes a warm pod a session's, and no longer its pool's.

    It tests the state, not the version: any write of the kubelet's would fail that. A pod that is being deleted has
    a deletionTimestamp, so that it can't be taken.

    Args:
        moment: now; the kubelet counts the deadline from the pod's start, which may be long ago.
    """
    patch: list[Body] = [
        {"op": "test", "path": "/metadata/uid", "value": pod.uid},
        {"op": "test", "path": "/metadata/deletionTimestamp", "value": None},
        {"op": "test", "path": _label(LABEL_STATE), "value": STATE_WARM},
        {"op": "replace", "path": _label(LABEL_STATE), "value": STATE_CLAIMED},
        {"op": "add", "path": _label(LABEL_SESSION), "value": owner.uid},
        {
            "op": "add",
            "path": f"/metadata/annotations/{_pointer(ANNOTATION_SESSION)}",
            "value": f"{owner.namespace}/{owner.name}",
        },
        {"op": "add", "path": "/metadata/ownerReferences", "value": []},
    ]
    if max_duration_seconds is not None:
        # The first is the kubelet's word: where its clock is ahead, the pod would be older than it seems.
        started = min(filter(None, (pod.started_at, pod.created_at, moment)))
        age = max(0, round((moment - started).total_seconds()))
        deadline = age + max_duration_seconds + DEADLINE_SLACK
        patch.append({"op": "add", "path": "/spec/activeDeadlineSeconds", "value": deadline})
    return patch


def _label(name: str) -> str:
    return f"/metadata/labels/{_pointer(name)}"


def _pointer(name: str) -> str:
    """Return a name as a part of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def _meta(pool: Pool, name: str, state: str, token_key: str) -> Body:
    return {
        "name": name,
        "namespace": pool.metadata.namespace,
        "labels": {LABEL_APP: APP_BROWSER, LABEL_STATE: state, LABEL_POOL: pool.metadata.name},
        "annotations": {ANNOTATION_TOKEN_KEY: token_key},
    }


def _pod_spec(pool: PoolSpec, token: str, image_pull_policy: str) -> Body:
    spec: Body = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "Localhost", "localhostProfile": pool.seccomp_profile},
        },
        "containers": [_container(pool, token, image_pull_policy)],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": SCRATCH_LIMIT}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": pool.shared_memory}},
        ],
        **_dns(pool.nameservers),
    }
    if pool.user_namespace:
        spec["hostUsers"] = False
    if pool.runtime_class_name:
        spec["runtimeClassName"] = pool.runtime_class_name
    if pool.node_selector:
        spec["nodeSelector"] = dict(pool.node_selector)
    if pool.tolerations:
        spec["tolerations"] = [dict(toleration) for toleration in pool.tolerations]
    return spec


def _container(pool: PoolSpec, token: str, image_pull_policy: str) -> Body:
    return {
        "name": "browser",
        "image": pool.image,
        "imagePullPolicy": image_pull_policy,
        "env": [{"name": "DRIFTSTACK_AGENT_TOKEN", "value": token}],
        "ports": [{"name": "agent", "containerPort": AGENT_PORT, "protocol": "TCP"}],
        "resources": _resources(pool),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108 - the pod's own
        # An agent that is killed writes nothing: then the end of its log, which holds nothing of a page.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _resources(pool: PoolSpec) -> dict[str, dict[str, Any]]:
    amounts = {"requests": pool.resources.requests, "limits": pool.resources.limits}
    return {name: values for name, amount in amounts.items() if (values := msgspec.to_builtins(amount))}


def _dns(nameservers: list[str]) -> Body:
    """Browsers ask a resolver that knows no cluster zone; without one, the node's."""
    if not nameservers:
        return {"dnsPolicy": "Default"}
    return {"dnsPolicy": "None", "dnsConfig": {"nameservers": list(nameservers)}}
