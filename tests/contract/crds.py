"""The CRDs as data: loaded once, and turned into plain JSON schemas."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema
import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
CRDS: Final = ROOT / "crds"
CHART: Final = ROOT / "charts" / "driftstack"

Schema = dict[str, Any]


@cache
def crds() -> dict[str, dict[str, Any]]:
    """Return every CRD by its kind."""
    loaded = [yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))]
    return {crd["spec"]["names"]["kind"]: crd for crd in loaded}


def version(kind: str) -> dict[str, Any]:
    """Return the one version of a kind."""
    versions: list[dict[str, Any]] = crds()[kind]["spec"]["versions"]
    assert len(versions) == 1
    return versions[0]


def schema(kind: str) -> Schema:
    """Return the structural schema of a kind."""
    found: Schema = version(kind)["schema"]["openAPIV3Schema"]
    return found


def problems(body: dict[str, Any]) -> list[str]:
    """Return what the schema of the body's kind has against it; unknown fields count. CEL rules are not run."""
    root = _closed(copy.deepcopy(schema(body["kind"])))
    root["properties"] |= {name: True for name in ("apiVersion", "kind", "metadata")}
    validator = jsonschema.Draft202012Validator(root, format_checker=jsonschema.FormatChecker())
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(body)]


def _closed(node: Schema) -> Schema:
    """Refuse unknown fields, as strict field validation does."""
    if "properties" in node:
        node["additionalProperties"] = False
        node["properties"] = {name: _closed(child) for name, child in node["properties"].items()}
    if "items" in node:
        node["items"] = _closed(node["items"])
    return node
