"""API objects as the API server would return them, for tests of the operator."""

from __future__ import annotations

import json
from typing import Any

from driftstack_common.kinds import Account, Archetype, Browser, Pool, Session, from_body
from driftstack_common.names import (
    ACCOUNT_FINALIZER,
    APP_BROWSER,
    FINALIZER,
    LABEL_APP,
    LABEL_POOL,
    LABEL_SESSION,
    LABEL_STATE,
    browser_pod_name,
)
from driftstack_operator.pods.view import PodView, read_pod

Body = dict[str, Any]

UID = "11111111-2222-4333-8444-555555555555"
ACCOUNT = "acme"
NAMESPACE = f"acct-{ACCOUNT}"
CREATED = "2026-05-12T12:00:00Z"
DELETED = "2026-05-12T13:00:00Z"


def session_body(
    name: str = "one",
    *,
    uid: str = UID,
    namespace: str = NAMESPACE,
    phase: str = "creating",
    finalizer: bool = True,
    deleted: bool = False,
    step: int = 0,
    spec: Body | None = None,
    annotations: dict[str, str] | None = None,
) -> Body:
    meta: Body = {
        "name": name,
        "namespace": namespace,
        "uid": uid,
        "resourceVersion": "10",
        "creationTimestamp": CREATED,
        "finalizers": [FINALIZER] if finalizer else [],
        "annotations": annotations or {},
    }
    if deleted:
        meta["deletionTimestamp"] = DELETED
    status: Body = {"phase": phase, "step": step}
    if phase != "creating":
        status["browser"] = {"pod": browser_pod_name(uid), "node": "local", "address": "10.0.0.1:8300"}
    return {
        "apiVersion": "driftstack.dev/v1alpha1",
        "kind": "BrowserSession",
        "metadata": meta,
        "spec": spec or {},
        "status": status,
    }


def session(**values: Any) -> Session:
    return from_body(Session, session_body(**values))


def pod_body(
    *,
    name: str | None = None,
    uid: str = UID,
    node: str = "local",
    ip: str = "10.0.0.1",
    phase: str = "Running",
    state: Body | None = None,
    reason: str = "",
    conditions: list[Body] | None = None,
    deleted: bool = False,
) -> Body:
    meta: Body = {
        "name": name or browser_pod_name(uid),
        "namespace": "driftstack-browsers",
        "uid": f"pod-of-{name or uid}",
        "resourceVersion": "20",
        "creationTimestamp": CREATED,
        "labels": {LABEL_APP: APP_BROWSER, LABEL_SESSION: uid, LABEL_STATE: "claimed", LABEL_POOL: "default"},
        "annotations": {"driftstack.dev/session-ref": f"{NAMESPACE}/one", "driftstack.dev/token-key": "k1"},
    }
    if deleted:
        meta["deletionTimestamp"] = DELETED
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"nodeName": node},
        "status": {
            "phase": phase,
            "podIP": ip,
            "reason": reason,
            "conditions": conditions or [],
            "containerStatuses": [{"name": "browser", "state": state or {}}],
        },
    }


def pod(**values: Any) -> PodView:
    return read_pod(pod_body(**values))


def ended(
    reason: str,
    message: str = "",
    exit_code: int = 1,
    kubernetes: str = "Error",
    log: str = "",
    usage: Body | None = None,
) -> Body:
    """Return the state of a container whose agent wrote this termination message."""
    said = {"reason": reason, "message": message, "log": log, "usage": usage}
    text = json.dumps({name: value for name, value in said.items() if name == "message" or value})
    return {"terminated": {"exitCode": exit_code, "reason": kubernetes, "message": text}}


def exited(exit_code: int, kubernetes: str = "Error", message: str = "") -> Body:
    """Return the state of a container that ended without a word of the agent's."""
    return {"terminated": {"exitCode": exit_code, "reason": kubernetes, "message": message}}


def waiting(reason: str, message: str = "") -> Body:
    return {"waiting": {"reason": reason, "message": message}}


def condition(kind: str, status: str, reason: str = "", message: str = "") -> Body:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def archetype_body(slug: str = "default", namespace: str = "driftstack-system") -> Body:
    return {
        "metadata": {"name": slug.replace("_", "-"), "namespace": namespace},
        "spec": {"slug": slug, "device": {"viewport": {"width": 1280, "height": 800}}},
    }


def archetype(slug: str = "default") -> Archetype:
    return from_body(Archetype, archetype_body(slug))


def pool_body(**spec: Any) -> Body:
    return {
        "metadata": {"name": "default", "namespace": "driftstack-browsers"},
        # Pods of the fake API server are as old as its fixed time.
        "spec": {"image": "driftstack.local/agent:0123456789ab", "maxAgeSeconds": 10**9, **spec},
    }


def pool(**spec: Any) -> Pool:
    return from_body(Pool, pool_body(**spec))


def account_body(name: str = ACCOUNT, **spec: Any) -> Body:
    return {"metadata": {"name": name, "finalizers": [ACCOUNT_FINALIZER]}, "spec": spec}


def account(name: str = ACCOUNT, **spec: Any) -> Account:
    return from_body(Account, account_body(name, **spec))


def browser(**values: Any) -> Browser:
    return Browser(pod=browser_pod_name(UID), **values)
