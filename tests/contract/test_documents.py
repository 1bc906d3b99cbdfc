"""The examples and the manifests in the documentation are what the CRDs accept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from driftstack_common.kinds import from_body
from driftstack_common.names import API_VERSION
from tests.contract.crds import CHART, ROOT, crds, problems
from tests.contract.test_models import MODELS

EXAMPLES: Final = sorted((ROOT / "docs" / "examples").glob("*.yaml"))
PAGES: Final = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *CHART.glob("*.md")])
BLOCK: Final = re.compile(r"^```ya?ml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def accepted(body: dict[str, Any]) -> None:
    """Fail unless the body is an object that Kubernetes or one of our CRDs knows."""
    if body["apiVersion"] == API_VERSION:
        assert problems(body) == []
    else:
        kubernetes_validate.validate(body, "1.37", strict=True)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_meet_the_schema_and_the_models(path: Path) -> None:
    bodies = list(yaml.safe_load_all(path.read_text()))
    assert bodies
    for body in bodies:
        assert problems(body) == []
        body["metadata"].setdefault("name", "generated")
        from_body(MODELS[body["kind"]], body)


def test_there_is_an_example_of_everything_that_people_write() -> None:
    shown = {body["kind"] for path in EXAMPLES for body in yaml.safe_load_all(path.read_text())}
    assert set(crds()) - shown == {"SessionRecord", "CreateRequest", "AccountUsage", "WebhookDelivery"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_manifests_in_pages_are_valid(page: Path) -> None:
    for block in BLOCK.findall(page.read_text()):
        for body in yaml.safe_load_all(block):
            if isinstance(body, dict) and "apiVersion" in body and "kind" in body:
                accepted(body)


def test_every_field_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "resources.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    missing = []
    for kind, crd in crds().items():
        root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        for name in names(root):
            if f"`{name}`" not in sections.get(kind, ""):
                missing.append(f"{kind}: {name}")
    assert not missing, "\n".join(missing)


def names(properties: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted names of all fields, without those of conditions, which are described once."""
    found = []
    for name, node in properties.items():
        path = f"{prefix}{name}"
        inner = node.get("properties") or node.get("items", {}).get("properties")
        if name in ("spec", "status"):
            found += names(inner, f"{name}.")
        elif inner and name != "conditions":
            found += names(inner, f"{path}.")
        else:
            found.append(path)
    return found
