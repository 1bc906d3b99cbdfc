"""What a browser can't do: leave its sandbox, or reach anything but public addresses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pykube
import pytest

from tests.e2e.conftest import Installation, Tenant
from tests.e2e.objects import BROWSERS, BrowserSession, browser_pod

NOT_HERE = "needs the embedded node's own network namespace"


def test_sandbox_is_proven(installation: Installation, account: Tenant, kube: pykube.HTTPClient) -> None:
    uid = account.create()["id"].removeprefix("ses_")
    found = [bs for bs in BrowserSession.objects(kube, namespace=account.namespace) if bs.uid == uid]
    conditions = {c["type"]: c["status"] for c in found[0].status["conditions"]}
    assert conditions["Sandboxed"] == "True"

    # Not the agent's own word: what the kernel says about the processes in the pod.
    pod = browser_pod(kube, uid)
    assert pod is not None
    look = (
        "import pathlib\n"
        "for p in pathlib.Path('/proc').glob('[0-9]*'):\n"
        "    line = (p / 'cmdline').read_bytes()\n"
        "    if b'chromium' in line.split(bytes(1))[0]:\n"
        "        status = dict(x.split(':', 1) for x in (p / 'status').read_text().splitlines() if ':' in x)\n"
        "        print(b'--type=renderer' in line, b'--type=' in line, status['Seccomp_filters'].strip(),\n"
        "              len(status['NSpid'].split()), b'--no-sandbox' in line)\n"
    )
    said = installation.run_kubectl("exec", "-n", BROWSERS, pod.name, "--", "python3", "-c", look).stdout
    rows = [line.split() for line in said.splitlines()]
    renderers = [row for row in rows if row[0] == "True"]
    browsers = [row for row in rows if row[1] == "False"]
    assert renderers, said
    assert browsers, said
    assert min(int(row[2]) for row in renderers) > max(int(row[2]) for row in browsers), said
    assert all(int(row[3]) > 1 for row in renderers), "a renderer is in a pid namespace of its own"
    assert not any(row[4] == "True" for row in rows)


def test_browser_namespace_is_restricted(installation: Installation, kube: pykube.HTTPClient) -> None:
    namespace = pykube.Namespace.objects(kube).get(name=BROWSERS)
    assert namespace.labels["pod-security.kubernetes.io/enforce"] == "restricted"
    privileged = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "privileged", "namespace": BROWSERS},
        "spec": {"containers": [{"name": "c", "image": "x", "securityContext": {"privileged": True}}]},
    }
    refused = installation.run_kubectl("create", "-f", "-", stdin=json.dumps(privileged))
    assert refused.returncode != 0
    assert 'violates PodSecurity "restricted' in refused.stderr


def test_pod_is_hardened(account: Tenant, kube: pykube.HTTPClient) -> None:
    pod = browser_pod(kube, account.create()["id"].removeprefix("ses_"))
    assert pod is not None
    spec = pod.obj["spec"]
    assert spec["automountServiceAccountToken"] is False
    context = spec["containers"][0]["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    profile = {**spec.get("securityContext", {}), **context}["seccompProfile"]
    assert profile == {"type": "Localhost", "localhostProfile": "driftstack/chromium.json"}


def test_private_addresses_are_refused(
    installation: Installation, account_of: Callable[..., Tenant], kube: pykube.HTTPClient
) -> None:
    if installation.backend != "embedded":
        pytest.skip(NOT_HERE)
    tenant = account_of()
    session, other = tenant.create()["id"], tenant.create()["id"]
    neighbour = browser_pod(kube, other.removeprefix("ses_"))
    assert neighbour is not None
    node = json.loads((Path(installation.kubeconfig).parent / "cluster.json").read_text())["node_address"]
    targets = {
        "API server": f"http://{node}:6443/",
        "kubelet": f"http://{node}:10250/",
        "another pod": f"http://{neighbour.obj['status']['podIP']}:8300/healthz",
        "metadata": "http://169.254.169.254/",
        "10/8": "http://10.200.254.10/",
        "172.16/12": "http://172.31.254.10/",
        "192.168/16": "http://192.168.254.10/",
        "100.64/10": "http://100.64.254.10/",
    }
    reached = {}
    for name, url in targets.items():
        assert _answers(installation, url), f"{name}: nothing answers at {url}, so refusing it proves nothing"
        step = {"url": url, "timeout_ms": 1000}
        reached[name] = tenant.api.post(f"/v1/sessions/{session}/navigate", json=step).status_code
    # The API server's other address; only pods have a route to it, so the node can't try it first.
    step = {"url": "http://10.96.0.1:443/", "timeout_ms": 1000}
    reached["API server's service"] = tenant.api.post(f"/v1/sessions/{session}/navigate", json=step).status_code
    assert set(reached.values()) <= {502, 504}, reached
    assert tenant.get(session)["status"] == "ready"
    public = tenant.api.post(f"/v1/sessions/{session}/navigate", json={"url": installation.page})
    assert public.json()["status"] == 200, "public addresses stay reachable"


def test_agents_answer_only_facade_and_operator(
    installation: Installation, account: Tenant, kube: pykube.HTTPClient
) -> None:
    pod = browser_pod(kube, account.create()["id"].removeprefix("ses_"))
    assert pod is not None
    url = f"http://{pod.obj['status']['podIP']}:8300/claim"
    probe = f"import urllib.request as r; r.urlopen('{url}', data=b'{{}}', timeout=3)"
    tried = installation.run_kubectl("exec", "-n", BROWSERS, pod.name, "--", "python3", "-c", probe)
    assert "401" in tried.stderr, "even from inside the pod a claim needs the token"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8300/healthz", "http://localhost:8300/", "http://[::1]:8300/"])
def test_loopback_is_refused(account: Tenant, url: str) -> None:
    session = account.create()["id"]
    answer = account.api.post(f"/v1/sessions/{session}/navigate", json={"url": url})
    assert answer.status_code == 400, answer.text


def _answers(installation: Installation, url: str) -> bool:
    """Whether a client on the node itself, which no policy binds, gets any HTTP answer."""
    inside = ["nsenter", f"--net=/run/netns/{installation.node_namespace}"]
    probe = ["curl", "--noproxy", "*", "-s", "-o", "/dev/null", "--max-time", "3", "-w", "%{http_code}", url]
    done = subprocess.run([*inside, *probe], capture_output=True, text=True, check=False)
    return done.stdout not in {"", "000"}
