from __future__ import annotations

import pytest

from driftstack_agent.errors import StepError
from driftstack_agent.keyboard import CHARACTERS, chord, key_event
from driftstack_common.protocol import ProblemCode


@pytest.mark.parametrize(
    ("name", "modifiers", "key", "code"),
    [
        ("Enter", [], "Enter", "Enter"),
        ("enter", [], "Enter", "Enter"),
        ("Return", [], "Enter", "Enter"),
        ("Esc", [], "Escape", "Escape"),
        ("Space", [], " ", "Space"),
        (" ", [], " ", "Space"),
        ("Down", [], "ArrowDown", "ArrowDown"),
        ("F12", [], "F12", "F12"),
        ("a", [], "a", "KeyA"),
        ("A", ["Shift"], "A", "KeyA"),
        ("?", ["Shift"], "?", "Slash"),
        ("+", ["Shift"], "+", "Equal"),
        ("Shift", [], "Shift", "ShiftLeft"),
        ("Control+A", ["Control"], "a", "KeyA"),
        ("ctrl+a", ["Control"], "a", "KeyA"),
        ("Shift+a", ["Shift"], "A", "KeyA"),
        ("Control+Shift+ArrowLeft", ["Control", "Shift"], "ArrowLeft", "ArrowLeft"),
        ("Control++", ["Control"], "+", "Equal"),
        ("Cmd+Alt+5", ["Meta", "Alt"], "5", "Digit5"),
    ],
)
def test_names_of_keys(name: str, modifiers: list[str], key: str, code: str) -> None:
    pressed = chord(name)
    assert [modifier.key for modifier in pressed.modifiers] == modifiers
    assert (pressed.key.key, pressed.key.code) == (key, code)


@pytest.mark.parametrize(
    "name", ["Foo", "é", "Entr", "F13", "a+b", "Control+", "Control+Foo", "+a", "++", "Enter+a", "ab"]
)
def test_unknown_keys_are_invalid(name: str) -> None:
    with pytest.raises(StepError) as raised:
        chord(name)
    assert raised.value.problem.code is ProblemCode.INVALID
    assert raised.value.problem.details == {"path": "action.key"}


def test_every_printable_ascii_character_is_on_a_key() -> None:
    printable = {chr(code) for code in range(0x20, 0x7F)}
    assert set(CHARACTERS) == printable
    assert all(key.text == character for character, key in CHARACTERS.items())


def test_a_key_types_unless_a_modifier_makes_it_a_command() -> None:
    typed = key_event("keyDown", CHARACTERS["a"])
    assert (typed["type"], typed["text"]) == ("keyDown", "a")
    command = key_event("keyDown", CHARACTERS["a"], 2)
    assert (command["type"], "text" in command) == ("rawKeyDown", False)
    assert key_event("keyUp", CHARACTERS["a"])["type"] == "keyUp"
