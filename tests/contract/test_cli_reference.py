"""docs/reference/cli.md names every command, option and exit code, and its examples can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from driftstack_cli.app import tree
from driftstack_cli.errors import ExitCode
from tests.contract.crds import ROOT

PAGE = (ROOT / "docs" / "reference" / "cli.md").read_text()
SHARED = {"--output", "--kubeconfig", "--context", "--account", "--help"}
"""Told of once, not with each command."""
CODE = re.compile(r"^\| (\d+) \| (\w+) \|", re.MULTILINE)
EXAMPLE = re.compile(r"(?:^|\$\()driftstack ([^)#|\n]+)", re.MULTILINE)


def commands(group: Any, *words: str) -> Iterator[tuple[str, Any]]:
    """Yield every command with its words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *words, name)
        else:
            yield " ".join((*words, name)), command


COMMANDS = dict(commands(typer.main.get_command(tree())))


def test_exit_codes() -> None:
    assert {(int(code), name) for code, name in CODE.findall(PAGE)} == {
        (code.value, code.name.lower()) for code in ExitCode
    }


def test_every_command_has_a_section_and_no_other() -> None:
    assert sorted(re.findall(r"^### driftstack (.+)$", PAGE, re.MULTILINE)) == sorted(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_is_told(words: str) -> None:
    section = PAGE.split(f"\n### driftstack {words}\n")[1].split("\n##")[0]
    options = {option for parameter in COMMANDS[words].params for option in parameter.opts if option[:2] == "--"}
    missing = [option for option in options - SHARED if f"`{option}" not in section]
    assert not missing


def test_examples_parse() -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in EXAMPLE.findall(block)]
    assert len(lines) == 9
    for line in lines:
        words = shlex.split(line)
        name = next(name for name in COMMANDS if words[: len(name.split())] == name.split())
        with COMMANDS[name].make_context(name, words[len(name.split()) :]) as context:
            assert context.params
