"""Helm is asked only when there is something to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftstack_cluster import install, toolchain
from driftstack_cluster.current import confirm
from driftstack_cluster.errors import Precondition

IMAGES = {"operator": "driftstack.local/operator:1"}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a.yaml").write_text("kind: A")
    return tmp_path


def test_a_change_of_chart_images_or_values_is_seen(chart: Path) -> None:
    before = install.fingerprint(chart, IMAGES, {"a": "1"})
    assert install.fingerprint(chart, dict(IMAGES), {"a": "1"}) == before
    assert install.fingerprint(chart, {"operator": "driftstack.local/operator:2"}, {"a": "1"}) != before
    assert install.fingerprint(chart, IMAGES, {"a": "2"}) != before

    (chart / "templates" / "a.yaml").write_text("kind: B")

    assert install.fingerprint(chart, IMAGES, {"a": "1"}) != before


@pytest.mark.parametrize(
    ("status", "available"),
    [
        ({"observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": 1}, True),
        ({"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": 1}, False),
        ({"observedGeneration": 2, "updatedReplicas": 1}, False),
        ({}, False),
    ],
)
def test_available_means_the_newest_generation_runs(status: dict[str, int], available: bool) -> None:
    deployment = {"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": status}

    assert install._is_available(deployment) is available


def test_nobody_at_the_terminal_means_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)

    with pytest.raises(Precondition, match="Nobody") as caught:
        confirm("Install?", yes=False)

    assert "YES=1" in caught.value.hint
    confirm("Install?", yes=True)


def test_no_go_and_an_old_go_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "go.mod").write_text("module x\n\ngo 1.26.0\n")
    monkeypatch.setattr(toolchain, "_GO_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Precondition, match="not installed"):
        toolchain.check_go(tmp_path)

    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go1.21.3\n")
    go.chmod(0o755)
    with pytest.raises(Precondition, match=r"too old: go1\.21\.3"):
        toolchain.check_go(tmp_path)

    go.write_text("#!/bin/sh\necho go1.27\n")
    assert toolchain.check_go(tmp_path) == go


def test_too_little_room_says_how_much(tmp_path: Path) -> None:
    with pytest.raises(Precondition, match="the build needs 1048576 GiB"):
        toolchain.check_room(tmp_path / "not" / "there", 1024**5, "the build")
