"""What benchmarks find, how it is judged against bounds, and how it is written down. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Statistic = str
"""One of p50, p95, p99, max, mean."""
COLUMNS: Final = ("p50", "p95", "p99")
_CUTS: Final = {"p50": 50, "p95": 95, "p99": 99}


@dataclass(frozen=True)
class Series:
    """One thing, measured a number of times.

    Attributes:
        key: what bounds call it, unique in a run.
        unit: of the values: ms, MiB, /s, or what is counted.
    """

    key: str
    title: str
    unit: str
    values: Sequence[float]

    def value(self, statistic: Statistic) -> float:
        """Return a percentile (interpolated between the two nearest values), `max` or `mean`."""
        if statistic == "max":
            return max(self.values)
        if statistic == "mean":
            return statistics.fmean(self.values)
        return percentile(self.values, _CUTS[statistic])


def milliseconds(key: str, title: str, seconds: Iterable[float]) -> Series:
    """Return a series of times that were taken in seconds."""
    return Series(key, title, "ms", [each * 1000 for each in seconds])


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that so many percent are not above; one value is every percentile of itself."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


@dataclass(frozen=True)
class Bound:
    """What a figure must keep to: a number in its own unit, or a share of another figure of the same run.

    Attributes:
        key, statistic: the figure.
        limit: at most this; with `least`, at least.
        against: key of the series whose p50 is the measure; empty: the limit is in the figure's own unit.
    """

    key: str
    limit: float
    statistic: Statistic = "p50"
    against: str = ""
    least: bool = False

    def judge(self, measured: Mapping[str, Series]) -> Verdict | None:
        """Return how the figure does; None when this run lacks it or what it is compared with."""
        if self.key not in measured or (self.against and self.against not in measured):
            return None
        value = measured[self.key].value(self.statistic)
        if self.against:
            value /= measured[self.against].value("p50")
        kept = value >= self.limit if self.least else value <= self.limit
        unit = f" x {measured[self.against].title}" if self.against else f" {measured[self.key].unit}"
        return Verdict(self, value, kept, unit)


@dataclass(frozen=True)
class Verdict:
    """How a figure does against its bound; the value is a ratio where the bound is one."""

    bound: Bound
    value: float
    kept: bool
    unit: str

    def __str__(self) -> str:
        """Return e.g. `p50 3.1 x sleeping pod (at most 3): MISSED`."""
        limit = f"at {'least' if self.bound.least else 'most'} {self.bound.limit:g}"
        return (
            f"{self.bound.statistic} {number(self.value)}{self.unit} ({limit}): {'ok' if self.kept else 'MISSED'}"
        )


def judge(bounds: Iterable[Bound], measured: Iterable[Series]) -> list[Verdict]:
    """Return the verdicts of those bounds that this run can tell."""
    known = {series.key: series for series in measured}
    return [verdict for bound in bounds if (verdict := bound.judge(known)) is not None]


def number(value: float) -> str:
    """Return a figure with three digits or so: more is noise."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def cells(series: Series) -> list[str]:
    """Return what the table shows of a series: title, n, p50, p95, p99, unit."""
    return [
        series.title,
        str(len(series.values)),
        *(number(series.value(column)) for column in COLUMNS),
        series.unit,
    ]


def table(measured: Sequence[Series], verdicts: Sequence[Verdict]) -> str:
    """Return the figures as text for a terminal, each with its bounds below it."""
    heads = ["", "n", *COLUMNS, ""]
    rows = [cells(series) for series in measured]
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    lines = [_line(heads, widths)]
    for series, row in zip(measured, rows, strict=True):
        lines.append(_line(row, widths))
        lines += [f"    bound: {verdict}" for verdict in verdicts if verdict.bound.key == series.key]
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *numbers, unit = [
        text.ljust(width) if column in (0, len(row) - 1) else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join([first, *numbers, unit]).rstrip()


def markdown(measured: Sequence[Series], verdicts: Sequence[Verdict]) -> str:
    """Return the same as a Markdown table."""
    lines = [f"| what | n | {' | '.join(COLUMNS)} | unit | bound |", "|---|---:|---:|---:|---:|---|---|"]
    for series in measured:
        bounds = "; ".join(str(verdict) for verdict in verdicts if verdict.bound.key == series.key)
        lines.append(f"| {' | '.join(cells(series))} | {bounds} |")
    return "\n".join(lines) + "\n"


def plain(series: Series) -> dict[str, Any]:
    """Return a series as JSON has it."""
    found = {column: round(series.value(column), 4) for column in COLUMNS}
    values = [round(value, 4) for value in series.values]
    return {
        "key": series.key,
        "title": series.title,
        "unit": series.unit,
        "n": len(values),
        **found,
        "values": values,
    }


def plain_verdict(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON has it."""
    bound = verdict.bound
    return {
        "key": bound.key,
        "statistic": bound.statistic,
        "value": round(verdict.value, 4),
        "least" if bound.least else "most": bound.limit,
        "against": bound.against or None,
        "kept": verdict.kept,
    }
