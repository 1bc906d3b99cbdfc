"""values.yaml, its schema and the `ci` files speak of the same values."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from driftstack_common.kinds import Tier
from tests.contract.crds import CHART

Helm = Callable[..., subprocess.CompletedProcess[str]]
MINIMAL = ("--values", str(CHART / "ci" / "minimal-values.yaml"))


def load(name: str) -> dict[str, Any]:
    """Return one of the chart's YAML files."""
    loaded: dict[str, Any] = yaml.safe_load((CHART / name).read_text())
    return loaded


def schema() -> dict[str, Any]:
    """Return values.schema.json."""
    loaded: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return loaded


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference to a definition."""
    if "$ref" not in node:
        return node
    target: dict[str, Any] = schema()["definitions"][node["$ref"].rsplit("/", 1)[1]]
    return target


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value that is no map with entries, with its path."""
    if isinstance(node, dict) and node:
        for key, child in node.items():
            yield from leaves(child, f"{path}.{key}" if path else key)
    else:
        yield path, node


def described(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every node of the schema below the root, with its path."""
    for name, child in resolve(node).get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        yield below, {**resolve(child), **child}
        yield from described(child, below)


def test_defaults_meet_the_schema() -> None:
    jsonschema.Draft7Validator.check_schema(schema())
    errors = jsonschema.Draft7Validator(schema(), format_checker=jsonschema.FormatChecker()).iter_errors(
        load("values.yaml")
    )
    assert [error.message for error in errors] == []


def test_every_value_is_in_the_schema_and_every_entry_has_a_default() -> None:
    paths = {path for path, _ in described(schema())}
    values = {path for path, _ in leaves(load("values.yaml"))}
    assert values - paths == set()
    objects = {path for path, node in described(schema()) if "properties" in node}
    optional = {path for path in paths if path.split(".")[-1] in ("cpu", "memory")} | {"global"}
    assert paths - objects - values - optional == set()


def test_schema_is_closed_and_described() -> None:
    for path, node in described(schema()):
        assert node.get("description") or path.startswith("tiers."), path
        if node.get("type") == "object" and path != "global":
            assert node.get("additionalProperties") is False or path == "browsers.nodeSelector", path


def test_full_values_change_every_value() -> None:
    defaults, full = dict(leaves(load("values.yaml"))), dict(leaves(load("ci/full-values.yaml")))
    assert [path for path in defaults if path not in full] == ["browsers.nodeSelector"]
    assert "browsers.nodeSelector.example.test/browsers" in full
    assert [path for path, value in defaults.items() if full.get(path, ...) == value] == []


def test_tiers_are_those_of_the_accounts() -> None:
    assert list(load("values.yaml")["tiers"]) == [tier.value for tier in Tier]


def test_readme_describes_every_value_and_no_other() -> None:
    described_there = set(
        re.findall(r"`([a-z]\w*(?:\.[\w<>]+)+)`", tables()) + re.findall(r"^\| `(\w+)`", tables(), re.M)
    )
    values = {documented(path) for path, _ in leaves(load("values.yaml"))}
    assert described_there == values


def tables() -> str:
    """Return the README's part about values."""
    return (CHART / "README.md").read_text().split("\n## Values\n")[1]


def documented(path: str) -> str:
    """Return the name under which the README has a value: tiers together, resources as a whole."""
    path = re.sub(r"^tiers\.\w+", "tiers.<tier>", path)
    return re.sub(r"\.resources\..*", ".resources", path)


def test_readmes_example_installs(run_helm: Helm, tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", (CHART / "README.md").read_text(), re.M | re.S)
    values = tmp_path / "my-values.yaml"
    values.write_text(example)
    done = run_helm("--values", str(values))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("facade.replica=2", "additional properties 'replica' not allowed"),
        ("facade.replicas=0", "minimum"),
        ("facade.publicUrl=drift.example.com", "does not match pattern"),
        ("facade.service.type=Ingress", "must be one of"),
        ("browsers.nameservers={1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4}", "maxItems"),
        ("browsers.nameservers={dns.example}", "/browsers/nameservers/0"),
        ("browsers.sharedMemory=lots", "does not match pattern"),
        ("browsers.resources.limits.cpu=2", "got number, want string"),
        ("tiers.gold.concurrentSessions=1", "additional properties 'gold' not allowed"),
        ("tiers.free.concurrentSessions=-1", "minimum"),
        ("tiers.free.rateLimits.global.refillPerMinute=0", "minimum"),
        ("network.clusterCIDRs={10.0.0.0}", "does not match pattern"),
        ("images.agent=a b", "does not match pattern"),
    ],
)
def test_wrong_values_are_refused(run_helm: Helm, option: str, expected: str) -> None:
    done = run_helm(*MINIMAL, "--set", option)
    assert done.returncode != 0
    assert expected in done.stderr
