"""The arithmetic of benchmarks: percentiles, bounds, tables."""

from __future__ import annotations

import pytest
from figures import Bound, Series, judge, markdown, milliseconds, number, percentile, plain, plain_verdict, table

HUNDRED = [float(value) for value in range(101)]


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        pytest.param(HUNDRED, 50, 50, id="the middle"),
        pytest.param(HUNDRED, 95, 95, id="p95"),
        pytest.param(HUNDRED, 99, 99, id="p99"),
        pytest.param([1.0, 2.0], 50, 1.5, id="between two"),
        pytest.param([1.0, 2.0], 99, 1.99, id="never beyond the greatest"),
        pytest.param([3.0, 1.0, 2.0], 50, 2, id="in any order"),
        pytest.param([7.0], 95, 7, id="one value is every percentile"),
    ],
)
def test_percentiles(values: list[float], percent: int, expected: float) -> None:
    assert percentile(values, percent) == pytest.approx(expected)


def test_statistics_of_a_series() -> None:
    series = Series("k", "title", "ms", HUNDRED)
    found = [series.value(statistic) for statistic in ("p50", "p95", "p99", "max", "mean")]
    assert found == pytest.approx([50, 95, 99, 100, 50])


def test_times_are_taken_in_seconds_and_shown_in_milliseconds() -> None:
    assert list(milliseconds("k", "title", [0.25, 1]).values) == [250, 1000]


FLOOR = Series("floor", "bare create", "ms", [4.0, 4.0, 40.0])
READY = Series("ready", "warm session", "ms", [10.0, 12.0, 90.0])
RATE = Series("rate", "GET", "requests/s", [600.0])
EMPTY = Series("empty", "empty app", "requests/s", [1000.0])


@pytest.mark.parametrize(
    ("bound", "value", "kept"),
    [
        pytest.param(Bound("ready", 3, against="floor"), 3, True, id="a ratio at its limit is kept"),
        pytest.param(Bound("ready", 2.9, against="floor"), 3, False, id="a ratio above it is not"),
        pytest.param(Bound("ready", 12, "p99", against="floor"), 22.11, False, id="p99 against the other's p50"),
        pytest.param(Bound("ready", 30), 12, True, id="in its own unit"),
        pytest.param(Bound("rate", 0.5, against="empty", least=True), 0.6, True, id="at least"),
        pytest.param(Bound("rate", 0.7, against="empty", least=True), 0.6, False, id="less than at least"),
    ],
)
def test_bounds(bound: Bound, value: float, kept: bool) -> None:
    (verdict,) = judge([bound], [FLOOR, READY, RATE, EMPTY])
    assert (verdict.value, verdict.kept) == (pytest.approx(value), kept)


def test_what_a_run_lacks_is_not_judged() -> None:
    assert judge([Bound("ready", 3, against="floor")], [READY]) == []
    assert judge([Bound("ready", 3)], [FLOOR]) == []


def test_a_verdict_says_all() -> None:
    kept, missed, least = judge(
        [
            Bound("ready", 4, against="floor"),
            Bound("ready", 80, "p99"),
            Bound("rate", 0.5, against="empty", least=True),
        ],
        [FLOOR, READY, RATE, EMPTY],
    )
    assert str(kept) == "p50 3.00 x bare create (at most 4): ok"
    assert str(missed) == "p99 88.4 ms (at most 80): MISSED"
    assert str(least) == "p50 0.60 x empty app (at least 0.5): ok"


@pytest.mark.parametrize(
    ("value", "text"), [(0.084, "0.08"), (3.14159, "3.14"), (24.96, "25.0"), (143.2, "143"), (1234.5, "1,234")]
)
def test_figures_have_three_digits_or_so(value: float, text: str) -> None:
    assert number(value) == text


def test_the_table_shows_each_series_with_its_bounds() -> None:
    measured = [FLOOR, READY]
    lines = table(measured, judge([Bound("ready", 2, against="floor")], measured)).splitlines()
    assert lines == [
        "              n   p50   p95   p99",
        "bare create   3  4.00  36.4  39.3  ms",
        "warm session  3  12.0  82.2  88.4  ms",
        "    bound: p50 3.00 x bare create (at most 2): MISSED",
    ]


def test_the_same_as_markdown() -> None:
    measured = [FLOOR, READY]
    assert markdown(measured, judge([Bound("ready", 30)], measured)) == (
        "| what | n | p50 | p95 | p99 | unit | bound |\n"
        "|---|---:|---:|---:|---:|---|---|\n"
        "| bare create | 3 | 4.00 | 36.4 | 39.3 | ms |  |\n"
        "| warm session | 3 | 12.0 | 82.2 | 88.4 | ms | p50 12.0 ms (at most 30): ok |\n"
    )


def test_the_same_as_json() -> None:
    shown = plain(READY)
    assert (shown["key"], shown["n"], shown["p50"], shown["values"]) == ("ready", 3, 12, [10, 12, 90])
    (verdict,) = judge([Bound("rate", 0.5, against="empty", least=True)], [RATE, EMPTY])
    assert plain_verdict(verdict) == {
        "key": "rate",
        "statistic": "p50",
        "value": 0.6,
        "least": 0.5,
        "against": "empty",
        "kept": True,
    }
