"""The figures as one picture: a bar per series (p50) with a line up to its p95, by row and unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from figures import Series, Verdict, number
from PIL import Image, ImageDraw, ImageFont

WIDTH: Final = 1100
LABELS: Final = 330
RIGHT: Final = 150
ROW: Final = 26
HEAD: Final = 44
INK: Final = "#1f2933"
FAINT: Final = "#9aa5b1"
BAR: Final = "#2f7ed8"
MISSED: Final = "#d64545"


def groups(measured: Mapping[str, Sequence[Series]]) -> list[tuple[str, list[Series]]]:
    """Return what shares a scale, the figures of one row in one unit, each with its heading."""
    found: dict[tuple[str, str], list[Series]] = {}
    for row, series in measured.items():
        for each in series:
            found.setdefault((row, each.unit), []).append(each)
    return [(f"{row}, {unit}", series) for (row, unit), series in found.items()]


def draw(measured: Mapping[str, Sequence[Series]], verdicts: Sequence[Verdict], path: Path) -> None:
    """Write the chart as PNG; a figure that misses a bound is red."""
    missed = {verdict.bound.key for verdict in verdicts if not verdict.kept}
    parts = groups(measured)
    height = 20 + sum(HEAD + ROW * len(series) for _, series in parts)
    image = Image.new("RGB", (WIDTH, height), "white")
    brush, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    top = 10
    for heading, series in parts:
        brush.text((10, top + 16), f"{heading}: p50, and p95 as a line", fill=FAINT, font=font)
        top += HEAD
        longest = max(each.value("p95") for each in series) or 1.0
        for each in series:
            scale = (WIDTH - LABELS - RIGHT) / longest
            middle, end = (LABELS + each.value(statistic) * scale for statistic in ("p50", "p95"))
            colour = MISSED if each.key in missed else BAR
            brush.text((10, top + 4), each.title, fill=INK, font=font)
            brush.rectangle((LABELS, top + 4, max(middle, LABELS + 1), top + ROW - 5), fill=colour)
            if end > middle:
                brush.line((middle, top + ROW / 2, end, top + ROW / 2), fill=colour, width=2)
            brush.text((max(middle, end) + 8, top + 4), number(each.value("p50")), fill=INK, font=font)
            top += ROW
    image.save(path, optimize=True)
