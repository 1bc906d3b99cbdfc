from __future__ import annotations

import io
import sys

import pytest

from driftstack_cli.output import Format, Table, clean, draw, emit, facts

TABLE = Table(("ID", "LABEL"), [("ses_1", "a note"), ("ses_22", "")], elastic=("LABEL",))


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_plain_tables_are_whole_and_have_no_blanks_at_their_end() -> None:
    assert draw(TABLE) == "ID      LABEL\nses_1   a note\nses_22\n"


@pytest.mark.parametrize(("width", "label"), [(80, "a long long label"), (20, "a long long …"), (5, "a lon…")])
def test_elastic_columns_are_cut_to_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int, label: str) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    drawn = draw(Table(("ID", "LABEL"), [("ses_1", "a long long label")], elastic=("LABEL",)))
    assert drawn.splitlines()[1] == f"ses_1  {label}"


def test_what_others_wrote_moves_no_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "\x1b[2Ja\r\nb\x07\u202e"
    assert clean(evil) == " [2Ja  b  "
    assert "\x1b[2J" not in draw(Table(("LABEL",), [(evil,)]))
    assert "\x1b" not in facts([("Label", evil)])
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[2J" not in draw(Table(("LABEL",), [(evil,)]))


def test_json_and_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"b": "ü", "a": [1, None]}
    emit(Format.JSON, value, lambda: "")
    assert capsys.readouterr().out == '{\n  "b": "ü",\n  "a": [\n    1,\n    null\n  ]\n}\n'
    emit(Format.YAML, value, lambda: "")
    assert capsys.readouterr().out == "b: ü\na:\n- 1\n- null\n"


def test_what_stdout_cannot_hold_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    emit(Format.JSON, "ü", lambda: "")
    assert ascii_only.buffer.getvalue() == b'"\\xfc"\n'  # type: ignore[attr-defined]
