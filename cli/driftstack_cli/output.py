"""What goes to stdout: JSON and YAML as they are documented, tables for people. stderr has everything else."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple, NoReturn

from driftstack_cli.errors import CliError

_STYLES: Final = {
    **dict.fromkeys(("ready", "True", "active", "delivered"), "green"),
    **dict.fromkeys(("creating", "busy"), "cyan"),
    **dict.fromkeys(("errored", "False", "revoked", "dlq", "disabled"), "red"),
    **dict.fromkeys(("destroyed", "expired"), "dim"),
}
_LEAST: Final = 6
"""Characters that an elastic column keeps."""


class Format(StrEnum):
    """How results are shown."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class Table(NamedTuple):
    """Rows under headings; columns named in `elastic` may be cut where a terminal is too narrow."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    elastic: Sequence[str] = ()


class BrokenPipe(Exception):  # it ends the process, nobody handles it as an error
    """Whoever read our output has gone."""


def emit(form: Format, value: Any, for_people: Callable[[], Table | str]) -> None:
    """Write a result to stdout.

    Args:
        form: what the user chose.
        value: what JSON and YAML show.
        for_people: what a table shows, or a text.
    """
    if form is Format.JSON:
        write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    elif form is Format.YAML:
        import yaml

        write(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
    else:
        shown = for_people()
        write("".join(f"{clean(line)}\n" for line in shown.split("\n")) if isinstance(shown, str) else draw(shown))


def write(text: str) -> None:
    """Write to stdout now; what can't be encoded there is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up_stdout()


def write_bytes(data: bytes) -> None:
    """Write to stdout as it is."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up_stdout()


def say(text: str) -> None:
    """Tell people something, on stderr."""
    print(clean(text), file=sys.stderr)


def complain(error: CliError) -> None:
    """Tell why a command ends."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text.assemble(("Error: ", "bold red"), clean(str(error))))
    for detail in error.details:
        console.print(Text(f"  {clean(detail)}"))
    if error.hint:
        console.print(Text(clean(error.hint)))


def draw(table: Table) -> str:
    """Return the table: coloured and cut to the terminal's width, or plain and whole where there is none."""
    rows = [list(table.columns), *([clean(cell) for cell in row] for row in table.rows)]
    if not sys.stdout.isatty():
        return _plain(rows)
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    widths = _fitted(table, rows, console.width)
    with console.capture() as captured:
        for number, row in enumerate(rows):
            line = Text(style="bold" if number == 0 else "")
            for cell, width in zip(row, widths, strict=True):
                shown = Text(cell, _STYLES.get(cell, ""))
                shown.truncate(width, overflow="ellipsis", pad=True)
                line.append_text(shown).append("  ")
            line.rstrip()
            console.print(line, soft_wrap=True)
    return captured.get()


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return one `Name:  value` a line, aligned."""
    return _plain([[f"{name}:", clean(value)] for name, value in pairs]).rstrip("\n")


def clean(text: str) -> str:
    """Return the text without what would move a terminal's cursor or colour it: it may be somebody else's."""
    return "".join(character if character.isprintable() else " " for character in text)


def _plain(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _fitted(table: Table, rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the columns' widths; where there is too little room, elastic ones give of theirs, the widest first."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    elastic = [place for place, column in enumerate(table.columns) if column in table.elastic]
    surplus = sum(widths) + 2 * (len(widths) - 1) - width
    for _ in range(surplus):
        place = max(elastic, key=widths.__getitem__)
        if widths[place] <= _LEAST:
            break
        widths[place] -= 1
    return widths


def _give_up_stdout() -> NoReturn:
    # Python flushes stdout once more at its end, and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise BrokenPipe from None
