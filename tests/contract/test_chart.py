"""The chart: renders for every values file, into manifests that Kubernetes and our own CRDs know."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest

from driftstack_api.settings import load_settings as load_facade_settings
from driftstack_common import names
from driftstack_common.kinds import Bucket, MemberRole, Tier
from driftstack_common.tiers import DEFAULT_TIERS, TierRateLimits
from driftstack_common.webhooks.targets import Rules
from driftstack_operator.accounts.binding import ROLE_PREFIX
from driftstack_operator.leadership import lease
from driftstack_operator.settings import load_settings as load_operator_settings
from driftstack_operator.uninstall.settings import Settings as HookSettings
from driftstack_operator.webhooks.settings import load_settings as load_dispatcher_settings
from driftstack_operator.webhooks.shards import SHARDS, lease_name
from tests.contract.conftest import Manifest, Render
from tests.contract.crds import CHART, ROOT, problems, schema

GENERATE: Final = ROOT / "charts" / "generate.py"
AGENT_IMAGE: Final = ROOT / "images" / "agent" / "Containerfile"
VALUES_FILES: Final = sorted(path.name for path in (CHART / "ci").glob("*-values.yaml"))
OURS: Final = f"{names.GROUP}/"


def test_copy_of_the_crds_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(GENERATE), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_generate_copies_changes_and_removes(tmp_path: Path) -> None:
    tool = runpy.run_path(str(GENERATE))
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.mkdir()
    copy.mkdir()
    (source / "new.yaml").write_text("a: 1\n")
    (copy / "old.yaml").write_text("b: 1\n")
    assert tool["generate"](source, copy) == ["new.yaml", "old.yaml"]
    assert [path.name for path in copy.iterdir()] == ["new.yaml"]
    assert tool["stale"](source, copy) == []
    (copy / "new.yaml").write_text("a: 2\n")
    assert tool["stale"](source, copy) == ["new.yaml"]


@pytest.mark.parametrize("values", VALUES_FILES)
def test_manifests_are_valid(render: Render, values: str) -> None:
    manifests = render(values)
    assert len(manifests) > 20
    for manifest in manifests:
        if manifest["apiVersion"].startswith(OURS):
            assert problems(manifest) == [], manifest["metadata"]["name"]
        else:
            kubernetes_validate.validate(manifest, "1.37", strict=True)


@pytest.mark.parametrize("values", VALUES_FILES)
def test_every_object_has_a_name_of_its_own_and_our_labels(render: Render, values: str) -> None:
    manifests = render(values)
    keys = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests]
    assert len(set(keys)) == len(keys)
    for manifest in manifests:
        assert manifest["metadata"]["labels"]["app.kubernetes.io/part-of"] == "driftstack", manifest["metadata"]


def test_missing_images_are_named(run_helm: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run_helm()
    assert done.returncode != 0
    assert "images.operator is empty" in done.stderr


# --- what depends on the version of Kubernetes --------------------------------------------------------------------


def test_before_1_36_there_is_no_mutating_policy(render: Render) -> None:
    def policies(version: str) -> list[Manifest]:
        manifests = render("minimal-values.yaml", "--kube-version", version)
        return [m for m in manifests if m["kind"].startswith("MutatingAdmissionPolicy")]

    assert len(policies("1.36.0")) == 2
    assert policies("1.35.9") == []


def test_before_1_31_nothing_is_installed(run_helm: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run_helm("--values", str(CHART / "ci" / "minimal-values.yaml"), "--kube-version", "1.30.14")
    assert done.returncode != 0
    assert ">=1.31.0" in done.stderr


# --- components ---------------------------------------------------------------------------------------------------


def deployment(manifests: list[Manifest], component: str) -> dict[str, Any]:
    """Return the pod template's spec of a component."""
    workloads = [m for m in manifests if m["kind"] in ("Deployment", "Job")]
    (found,) = (m for m in workloads if m["metadata"]["name"].endswith(component))
    spec: dict[str, Any] = found["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("component", ["operator", "facade", "dispatcher", "uninstall"])
def test_pods_meet_pod_security_restricted(render: Render, component: str) -> None:
    pod = deployment(render("minimal-values.yaml"), component)
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["enableServiceLinks"] is False
    assert container["resources"]["limits"]["memory"]
    probes = {"startupProbe", "livenessProbe", "readinessProbe"} & container.keys()
    assert len(probes) == (0 if component == "uninstall" else 3)


def environment(monkeypatch: pytest.MonkeyPatch, pod: dict[str, Any]) -> None:
    """Give this process the variables that the chart gives the component."""
    for variable in pod["containers"][0]["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])


@pytest.mark.parametrize("values", VALUES_FILES)
def test_operator_accepts_its_settings(render: Render, monkeypatch: pytest.MonkeyPatch, values: str) -> None:
    environment(monkeypatch, deployment(render(values), "operator"))
    settings = load_operator_settings()
    if values == "minimal-values.yaml":
        assert settings.tiers == DEFAULT_TIERS
        assert settings.model_dump() == type(settings)().model_dump()
    if values == "full-values.yaml":
        limits = {tier.value: limit.concurrent_sessions for tier, limit in settings.tiers.items()}
        assert limits["enterprise"] == 33
        assert [t.value for t, limit in settings.tiers.items() if limit.idle_timeout_seconds is None] == [
            "enterprise"
        ]
        assert (settings.browser_namespace, settings.record_days) == ("browsers-elsewhere", 0.5)


@pytest.mark.parametrize("values", VALUES_FILES)
def test_facade_accepts_its_settings(render: Render, monkeypatch: pytest.MonkeyPatch, values: str) -> None:
    environment(monkeypatch, deployment(render(values), "facade"))
    settings = load_facade_settings()
    assert settings.system_namespace == "driftstack-system"
    if values == "minimal-values.yaml":
        assert settings.tiers == DEFAULT_TIERS
    assert (settings.redis is None) == (values != "full-values.yaml")
    assert settings.webhooks == (values != "full-values.yaml")
    if values == "full-values.yaml":
        mounts = deployment(render(values), "facade")["containers"][0]["volumeMounts"]
        assert str(settings.redis) in [mount["mountPath"] for mount in mounts]
        assert settings.tiers[Tier.API_STARTER].rate_limits == TierRateLimits(
            global_=Bucket(capacity=241, refill_per_minute=241),
            sessions_create=Bucket(capacity=16, refill_per_minute=4),
        )


def test_dispatcher_accepts_its_settings(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, deployment(render("minimal-values.yaml"), "dispatcher"))
    settings = load_dispatcher_settings()
    assert settings.model_dump() == type(settings)().model_dump()
    assert settings.rules == Rules()
    options = ("--set", "webhooks.enabled=true")
    environment(monkeypatch, deployment(render("full-values.yaml", *options), "dispatcher"))
    settings = load_dispatcher_settings()
    assert (settings.replicas, settings.waiting_days) == (3, 1)
    refused = tuple(map(ip_network, ("198.51.100.0/24", "2001:db8::/32")))
    assert settings.rules == Rules(allow_http=True, allow_private=True, refused=refused)


def test_without_webhooks_nothing_of_them_is_left(render: Render) -> None:
    named = [m["metadata"]["name"] for m in render("full-values.yaml")]
    assert [name for name in named if "dispatcher" in name] == []


@pytest.mark.parametrize("values", VALUES_FILES)
def test_uninstall_hook_accepts_its_settings(render: Render, monkeypatch: pytest.MonkeyPatch, values: str) -> None:
    environment(monkeypatch, deployment(render(values), "uninstall"))
    settings = HookSettings()
    if values == "minimal-values.yaml":
        assert settings.model_dump() == {**settings.model_dump(), "seconds": 120, "log_level": "info"}
    if values == "full-values.yaml":
        assert (settings.browser_namespace, settings.seconds) == ("browsers-elsewhere", 30)


@pytest.mark.parametrize("component", ["operator", "facade"])
def test_budget_comes_with_the_second_pod(render: Render, component: str) -> None:
    def budgets(replicas: int) -> list[str]:
        options = ("--set", f"operator.replicas={replicas},facade.replicas={replicas}")
        manifests = render("minimal-values.yaml", *options)
        return [m["metadata"]["name"] for m in manifests if m["kind"] == "PodDisruptionBudget"]

    assert f"driftstack-{component}" not in budgets(1)
    assert f"driftstack-{component}" in budgets(2)


def test_leases_that_are_changed_are_the_components_own(render: Render) -> None:
    shards = [lease_name(shard) for shard in range(SHARDS)]
    found = [(m["metadata"]["name"], rule) for m in render("minimal-values.yaml") for rule in m.get("rules", [])]
    leases = [(name, rule) for name, rule in found if "leases" in rule["resources"]]
    assert [(name, rule["verbs"], rule.get("resourceNames")) for name, rule in leases] == [
        ("driftstack-dispatcher", ["get", "watch", "patch"], shards),
        ("driftstack-dispatcher", ["create"], None),
        ("driftstack-operator", ["get", "watch", "patch"], [lease.NAME]),
        ("driftstack-operator", ["create"], None),
        ("driftstack-uninstall", ["delete"], [lease.NAME, *shards]),
    ]


def test_keys_stay_when_the_chart_no_longer_makes_them(render: Render) -> None:
    rings = [m for m in render("minimal-values.yaml") if m["kind"] == "Secret"]
    assert [ring["metadata"]["annotations"] for ring in rings] == [{"helm.sh/resource-policy": "keep"}] * 2


def test_own_keys_are_not_replaced(render: Render) -> None:
    made = {m["metadata"]["name"]: m["data"] for m in render("minimal-values.yaml") if m["kind"] == "Secret"}
    assert list(made) == ["driftstack-agent-key", "driftstack-connect-key"]
    assert made["driftstack-agent-key"] != made["driftstack-connect-key"]
    assert not [m for m in render("full-values.yaml") if m["kind"] == "Secret"]


# --- admission policies and the words they test -------------------------------------------------------------------


def policy(manifests: list[Manifest], name: str) -> str:
    """Return a policy as text."""
    (found,) = (m for m in manifests if m["metadata"]["name"] == name and m["kind"].endswith("AdmissionPolicy"))
    return str(found["spec"])


def test_policies_use_the_words_of_the_code(render: Render) -> None:
    manifests = render("minimal-values.yaml")
    words = {
        "driftstack-session-finalizer": [names.FINALIZER],
        "driftstack-session-finalizer-kept": [
            names.FINALIZER,
            "driftstack-system:driftstack-operator",
            "driftstack-system:driftstack-uninstall",
        ],
        "driftstack-session-annotations": [
            names.ANNOTATION_CREATED_AT,
            names.ANNOTATION_API_KEY_ID,
            "driftstack-system:driftstack-facade",
        ],
        "driftstack-account-namespace": [names.LABEL_ACCOUNT],
        "driftstack-account-label": [names.LABEL_ACCOUNT, "driftstack-system:driftstack-operator"],
        "driftstack-ids": [names.ANNOTATION_ID, "driftstack-system:driftstack-operator"],
        "driftstack-operator-namespaces": [
            names.ACCOUNT_NAMESPACE_PREFIX,
            ROLE_PREFIX,
            *MemberRole,
            "driftstack-system:driftstack-operator",
            "driftstack-system:driftstack-uninstall",
        ],
    }
    for name, expected in words.items():
        text = policy(manifests, name)
        assert [word for word in expected if word not in text] == [], name


def test_label_of_accounts_is_kept_on_every_way_to_write_it(render: Render) -> None:
    for resource in ("namespaces", "namespaces/status", "namespaces/finalize"):
        assert f"'{resource}'" in policy(render("minimal-values.yaml"), "driftstack-account-label")


def test_every_policy_is_bound(render: Render) -> None:
    manifests = render("minimal-values.yaml")
    for kind in ("ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"):
        policies = {m["metadata"]["name"] for m in manifests if m["kind"] == kind}
        bound = {m["spec"]["policyName"] for m in manifests if m["kind"] == f"{kind}Binding"}
        assert policies == bound != set()


def test_facade_can_change_no_status_field_that_is_not_named(render: Render) -> None:
    text = policy(render("minimal-values.yaml"), "driftstack-session-status")
    free = {"phase", "step", "lastTransitionTime"}
    fields = set(schema("BrowserSession")["properties"]["status"]["properties"]) - free
    kept = {field for field in fields if f"variables.now.?{field} == variables.before.?{field}" in text}
    assert kept == fields


# --- the catalogue ------------------------------------------------------------------------------------------------


def test_catalogue(render: Render) -> None:
    archetypes = [m for m in render("minimal-values.yaml") if m["kind"] == "Archetype"]
    assert len(archetypes) == 3
    for archetype in archetypes:
        assert archetype["metadata"]["name"] == names.archetype_name(archetype["spec"]["slug"])
    assert names.DEFAULT_ARCHETYPE in [archetype["spec"]["slug"] for archetype in archetypes]


def test_user_agents_name_the_chromium_of_the_image(render: Render) -> None:
    """A user agent that says another version than the browser has is the first thing a page can notice."""
    pinned = re.search(r"^ARG CHROMIUM_MINIMUM=(\d+)", AGENT_IMAGE.read_text(), re.MULTILINE)
    assert pinned is not None
    devices = [m["spec"]["device"] for m in render("minimal-values.yaml") if m["kind"] == "Archetype"]
    agents = [device["userAgent"] for device in devices if "userAgent" in device]
    assert agents
    assert [agent for agent in agents if f" Chrome/{pinned.group(1)}.0.0.0 " not in agent] == []
