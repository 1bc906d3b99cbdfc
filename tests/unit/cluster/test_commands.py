"""What the commands answer with, and which cluster they are about."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from driftstack_cluster import __main__, command, current, demo, images, state
from driftstack_cluster.errors import NotReady, Precondition
from driftstack_cluster.progress import Progress
from driftstack_cluster.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("{}")
    return Settings(checkout=tmp_path, cache=tmp_path / "cache", user_kubeconfig=kubeconfig)


def _main(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | str | None:
    monkeypatch.setattr("sys.argv", ["driftstack_cluster", *words])
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    return caught.value.code


@pytest.mark.parametrize(("runs", "code"), [(True, 0), (False, 1)])
def test_status_answers_with_its_exit_code(monkeypatch: pytest.MonkeyPatch, runs: bool, code: int) -> None:
    monkeypatch.setattr(command, "status", lambda *_: runs)

    assert _main(monkeypatch, "status") == code


def test_an_unknown_command_is_a_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(monkeypatch, "upp") == 2
    assert "upp" in capsys.readouterr().err


def test_a_full_disk_is_a_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: object) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device", "/a/file")

    monkeypatch.setattr(command, "status", full)

    assert _main(monkeypatch, "status") == 1
    shown = capsys.readouterr().err
    assert "/a/file" in shown
    assert "free some room" in shown


@pytest.mark.parametrize("mine", [True, False])
def test_a_node_of_an_interrupted_up_is_this_checkouts_cluster(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, mine: bool
) -> None:
    owner = settings.checkout if mine else "/elsewhere"
    monkeypatch.setattr(state, "load", lambda _: state.State(checkout=str(owner)))
    monkeypatch.setattr("driftstack_cluster.kind.docker_answers", lambda: True)
    module = settings.checkout / "cluster" / "node"
    module.mkdir(parents=True)
    for name in ("go.mod", "go.sum"):
        (module / name).touch()

    assert command.choose(settings).name == ("embedded" if mine else "kind")


def test_a_registry_is_asked_for_before_anything_is_built(settings: Settings) -> None:
    with pytest.raises(Precondition, match="pull the images") as caught:
        current.Current(settings).up(Progress())

    assert "REGISTRY=" in caught.value.hint


def test_a_kubeconfig_that_is_not_there_is_named(settings: Settings) -> None:
    away = replace(settings, user_kubeconfig=settings.checkout / "away")

    with pytest.raises(Precondition, match="away does not exist"):
        current.Current(away).up(Progress())


def test_a_cluster_that_does_not_answer_is_said_before_the_question(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    kubectl = settings.checkout / "kubectl"
    kubectl.write_text('#!/bin/sh\ncase "$*" in *version*) echo refused >&2; exit 1;; *) echo name;; esac\n')
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{settings.checkout}:/usr/bin:/bin")
    (settings.checkout / "helm").symlink_to(kubectl)
    module = settings.checkout / "cluster" / "node"
    module.mkdir(parents=True)
    for name in ("go.mod", "go.sum"):
        (module / name).touch()
    monkeypatch.setattr(current, "confirm", lambda *_: pytest.fail("asked too early"))

    with pytest.raises(Precondition, match=r"does not answer:\n(.*\n)*refused"):
        current.Current(replace(settings, registry="registry.test/team")).up(Progress())


def test_files_that_tell_of_a_cluster_go_with_it(settings: Settings) -> None:
    settings.output.mkdir()
    for name in ("kubeconfig", "cluster.json", "env"):
        (settings.output / name).touch()

    settings.forget_access()

    assert not settings.output.exists()
    settings.forget_access()


def test_a_build_that_runs_is_left_alone(settings: Settings) -> None:
    with images.unless_building(settings.cache) as folder:
        assert folder is None
    (settings.cache / "images").mkdir(parents=True)

    with images.unless_building(settings.cache) as first, images.unless_building(settings.cache) as second:
        assert first == settings.cache / "images"
        assert second is None


def test_a_demo_without_a_facade_says_so_at_once(settings: Settings) -> None:
    away = demo.Target(
        url="http://127.0.0.1:9",
        page="http://demo.test/",
        kubeconfig=settings.user_kubeconfig,
        kubectl=settings.checkout / "kubectl",
        folder=settings.checkout,
        env=settings.output / "env",
    )

    with pytest.raises(NotReady, match="does not answer") as caught:
        demo.run(away, Console())

    assert "port-forward" in caught.value.hint


def test_the_key_of_another_instance_has_a_file_of_its_own(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    told = {"facade_url": "u", "demo_url": "d", "kubeconfig": "k", "kubectl": "c"}
    seen: list[demo.Target] = []
    monkeypatch.setattr(command, "read_access", lambda _: told)
    monkeypatch.setattr(demo, "run", lambda target, _: seen.append(target))
    monkeypatch.setenv("INSTANCE", "3")

    assert _main(monkeypatch, "demo") == 0

    assert seen[0].env == seen[0].folder / ".driftstack" / "instance-3" / "env"


def test_a_second_kind_of_cluster_is_refused_before_anything_is_changed(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.output.mkdir()
    (settings.output / "cluster.json").write_text('{"backend": "embedded"}')
    monkeypatch.setattr("driftstack_cluster.layout.Layout.lock", settings.checkout / "lock")
    monkeypatch.setattr(current.Current, "up", lambda *_: pytest.fail("went on"))

    with pytest.raises(Precondition, match="embedded") as caught:
        command.up(replace(settings, cluster="current"), Progress())

    assert "make down" in caught.value.hint
