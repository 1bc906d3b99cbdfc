"""The keys of a US keyboard: what Chromium is told when one is pressed, and the names people call them by."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from driftstack_agent.errors import StepError
from driftstack_common.protocol import ProblemCode


class Key(NamedTuple):
    """One key.

    Attributes:
        key: `KeyboardEvent.key`.
        code: `KeyboardEvent.code`.
        number: the Windows virtual key code.
        text: what it types, if anything.
        shift: it is typed with Shift.
        location: 1 for the left one of two.
    """

    key: str
    code: str
    number: int
    text: str = ""
    shift: bool = False
    location: int = 0


MODIFIERS: Final = {"Alt": 1, "Control": 2, "Meta": 4, "Shift": 8}
SHIFT: Final = Key("Shift", "ShiftLeft", 16, location=1)
_PLAIN: Final = "`1234567890-=[]\\;',./"
_SHIFTED: Final = '~!@#$%^&*()_+{}|:"<>?'
_CODES: Final = (
    *("Backquote", *(f"Digit{digit}" for digit in "1234567890"), "Minus", "Equal", "BracketLeft", "BracketRight"),
    *("Backslash", "Semicolon", "Quote", "Comma", "Period", "Slash"),
)
_NUMBERS: Final = (192, *map(ord, "1234567890"), 189, 187, 219, 221, 220, 186, 222, 188, 190, 191)


def _characters() -> dict[str, Key]:
    keys = {" ": Key(" ", "Space", 32, " ")}
    for plain, shifted, code, number in zip(_PLAIN, _SHIFTED, _CODES, _NUMBERS, strict=True):
        keys[plain] = Key(plain, code, number, plain)
        keys[shifted] = Key(shifted, code, number, shifted, shift=True)
    for letter in "abcdefghijklmnopqrstuvwxyz":
        upper = letter.upper()
        keys[letter] = Key(letter, f"Key{upper}", ord(upper), letter)
        keys[upper] = Key(upper, f"Key{upper}", ord(upper), upper, shift=True)
    return keys


def _named() -> dict[str, Key]:
    numbers = {
        "Backspace": 8, "Tab": 9, "Pause": 19, "CapsLock": 20, "Escape": 27, "PageUp": 33, "PageDown": 34,
        "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
        "PrintScreen": 44, "Insert": 45, "Delete": 46, "ContextMenu": 93, "NumLock": 144, "ScrollLock": 145,
    }  # fmt: skip
    keys = {name: Key(name, name, number) for name, number in numbers.items()}
    keys |= {f"F{number}": Key(f"F{number}", f"F{number}", 111 + number) for number in range(1, 13)}
    keys["Enter"] = Key("Enter", "Enter", 13, "\r")
    keys["Shift"] = SHIFT
    for name, number in (("Control", 17), ("Alt", 18), ("Meta", 91)):
        keys[name] = Key(name, f"{name}Left", number, location=1)
    return keys


CHARACTERS: Final = _characters()
"""By the character they type."""
NAMED: Final = {name.lower(): key for name, key in _named().items()}
"""By the name of `KeyboardEvent.key`, in lower case."""
ALIASES: Final = {
    "return": "enter", "esc": "escape", "del": "delete", "ins": "insert", "space": " ", "spacebar": " ",
    "left": "arrowleft", "up": "arrowup", "right": "arrowright", "down": "arrowdown", "pgup": "pageup",
    "pgdn": "pagedown", "ctrl": "control", "cmd": "meta", "command": "meta", "option": "alt", "win": "meta",
}  # fmt: skip


class Chord(NamedTuple):
    """A key and the modifiers that are held meanwhile."""

    modifiers: tuple[Key, ...]
    key: Key


def chord(name: str) -> Chord:
    """Read `Enter`, `a`, `Control+Shift+ArrowLeft`, `Control++`; names in any case, characters as they are.

    Raises:
        StepError: invalid, there is no such key.
    """
    *heads, last = name[:-1].split("+")  # the last character is never a separator: in Control++ it is the key
    last += name[-1]
    held = [_lookup(part, name) for part in heads]
    if any(key.key not in MODIFIERS for key in held):
        raise _unknown(name)
    if len(last) == 1 and held:  # Control+A is Control and the key that types a
        last = last.upper() if held == [SHIFT] else last.lower()
    key = _lookup(last, name)
    if key.shift and not held:
        held.append(SHIFT)
    return Chord(tuple(held), key)


def _lookup(part: str, name: str) -> Key:
    lower = ALIASES.get(part.lower(), part.lower())
    found = CHARACTERS.get(part) or NAMED.get(lower) or CHARACTERS.get(lower)
    if found is None:
        raise _unknown(name)
    return found


def _unknown(name: str) -> StepError:
    message = f"there is no key {name!r}: a character, Enter, Tab, Escape, ArrowLeft, F1, Control+A, …"
    return StepError(ProblemCode.INVALID, message, path="action.key")


def key_event(kind: str, key: Key, modifiers: int = 0) -> dict[str, Any]:
    """Return the parameters of `Input.dispatchKeyEvent`; kind is keyDown or keyUp."""
    event: dict[str, Any] = {
        "type": kind,
        "key": key.key,
        "code": key.code,
        "windowsVirtualKeyCode": key.number,
        "modifiers": modifiers,
        "location": key.location,
    }
    if kind == "keyDown" and key.text and not modifiers & ~MODIFIERS["Shift"]:
        event |= {"text": key.text, "unmodifiedText": key.text}
    elif kind == "keyDown":
        event["type"] = "rawKeyDown"
    return event
