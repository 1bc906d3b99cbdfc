"""The run of all rows: which, what becomes of one that fails, what is written, how it ends."""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import bench
import pytest
from figures import Bound, Series
from harness import Row, Run
from PIL import Image
from pss import tree
from writes import per_session


def row(name: str, value: float = 1.0, bounds: Sequence[Bound] = (), failure: BaseException | None = None) -> Row:
    def measure(run: Run) -> Sequence[Series]:
        if failure is not None:
            raise failure
        return [Series(name, f"figure of {name}", "ms", [value + number for number in run.rounds()])]

    return Row(name, f"The row {name}", measure, bounds, rounds=4, quick=2, cluster=False)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ROWS", "QUICK", "ROUNDS", "STRICT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def run(monkeypatch: pytest.MonkeyPatch, *rows: Row) -> int:
    monkeypatch.setattr(bench, "chosen", lambda names: list(rows))
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_rows_are_chosen_by_name() -> None:
    rows = [row("a"), row("b"), row("c")]
    assert bench.chosen("", rows) == rows
    assert [each.name for each in bench.chosen("c, a", rows)] == ["c", "a"]
    with pytest.raises(ValueError, match="no row x; there are: a, b, c"):
        bench.chosen("a,x", rows)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SystemExit("no room"), "no room"),
        (SystemExit(), "SystemExit"),
        (RuntimeError("no\nroom"), "RuntimeError no room"),
        (TimeoutError(), "TimeoutError"),
        (ExceptionGroup("two", [ExceptionGroup("one", [ValueError("inside")])]), "ValueError inside"),
    ],
)
def test_a_failure_is_one_line(error: BaseException, said: str) -> None:
    assert bench.cause(error) == said


def test_names_of_rows_and_keys_of_bounds_are_unique() -> None:
    names = [each.name for each in bench.ROWS]
    assert len(names) == len(set(names))
    bounds = [(bound.key, bound.statistic) for each in bench.ROWS for bound in each.bounds]
    assert len(bounds) == len(set(bounds))


@pytest.mark.parametrize(("variables", "size"), [({}, 4), ({"QUICK": "1"}, 2), ({"QUICK": "1", "ROUNDS": "7"}, 7)])
def test_how_often_is_measured(
    variables: dict[str, str], size: int, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:
        started = Run(stack)
        started.begin(row("a"))
        assert started.size == size
        assert len(list(started.rounds())) == size


def test_everything_is_written(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = run(monkeypatch, row("a"), row("b", 9, [Bound("b", 2, against="a")]))
    assert code == 0
    found = json.loads((results / "bench.json").read_text())
    assert found["rows"]["a"][0]["values"] == [1, 2, 3, 4]
    (bound,) = found["bounds"]
    assert (bound["value"], bound["kept"]) == (4.2, False)
    assert {"time", "revision", "cores", "processor", "kernel", "load"} <= set(found)
    assert "| figure of b | 4 | 10.5 |" in (results / "bench.md").read_text()
    with Image.open(results / "bench.png") as picture:
        assert picture.width > 500
        assert picture.getcolors(1 << 20) is not None
        colours = {colour for _, colour in picture.getcolors(1 << 20) or []}
    assert {(0x2F, 0x7E, 0xD8), (0xD6, 0x45, 0x45)} <= colours  # a figure, and one that misses its bound


def test_strict_fails_on_a_missed_bound(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRICT", "1")
    assert run(monkeypatch, row("a", 9, [Bound("a", 20)])) == 0
    assert run(monkeypatch, row("a", 9, [Bound("a", 2)])) == 1


@pytest.mark.parametrize("failure", [RuntimeError("no pool"), SystemExit("no pool"), SystemExit()])
def test_a_row_that_fails_is_told_and_the_others_are_kept(
    failure: BaseException, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, row("a", failure=failure), row("b")) == 1
    found = json.loads((results / "bench.json").read_text())
    assert list(found["rows"]) == ["b"]
    assert list(found["failed"]) == ["a"]
    assert "a was not measured" in capsys.readouterr().out


def test_without_a_cluster_it_says_what_to_do(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("installation.ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench.py"])
    with pytest.raises(SystemExit, match="run `make demo` first"):
        bench.main()
    assert not results.exists()


@pytest.mark.parametrize("module", sorted(path.stem for path in Path(bench.__file__).parent.glob("*.py")))
def test_every_benchmark_can_be_imported(module: str) -> None:
    if module not in ("pipe_steps", "devtools_rounds"):  # they are sent elsewhere and run there
        importlib.import_module(module)


def test_writes_per_session_leave_events_and_the_kubelets_own_apart() -> None:
    counted = Counter(
        {
            ("browsersessions", "POST"): 10,
            ("pods", "POST"): 10,
            ("pods", "DELETE"): 20,  # the operator's and the kubelet's
            ("pods/status", "PATCH"): 30,
            ("events", "POST"): 50,
            ("pods", "GET"): 40,
        }
    )
    found = {series.key: series.values[0] for series in per_session(counted, 10)}
    assert found["writes.ours"] == 3
    assert found["writes.all"] == 7
    assert found["writes.POST.events"] == 5
    assert "writes.GET.pods" not in found
    assert [found[f"requests.{verb}"] for verb in ("GET", "POST", "PATCH", "DELETE")] == [4, 7, 3, 2]


def test_a_process_tree_has_all_descendants() -> None:
    assert tree(1, {1: [2, 3], 3: [4], 9: [10]}) == [1, 2, 3, 4]
