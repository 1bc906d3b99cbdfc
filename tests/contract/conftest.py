"""Helm, and what it makes of the chart."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftstack_cluster import settings, toolchain
from tests.contract.crds import CHART, ROOT

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]


@pytest.fixture(scope="session")
def helm() -> Path:
    """The Helm that `make up` built, else one on the PATH; fails with what to do when there is none."""
    built = toolchain.tools(ROOT, settings.load(ROOT).cache).helm
    found = built if built.exists() else shutil.which("helm")
    if found is None:
        pytest.fail("no helm: run `make up` once, it builds one, or install Helm 4", pytrace=False)
    return Path(found)


@pytest.fixture(scope="session")
def run_helm(helm: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `helm template` on the chart with these options."""

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [str(helm), "template", "driftstack", str(CHART), "--namespace", "driftstack-system", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture(scope="session")
def render(run_helm: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """Return the manifests that the chart makes of one of its `ci` values files."""

    def manifests(values: str, *options: str) -> list[Manifest]:
        done = run_helm("--values", str(CHART / "ci" / values), *options)
        assert done.returncode == 0, done.stderr
        return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]

    return manifests
