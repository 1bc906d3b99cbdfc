from __future__ import annotations

import pytest

from driftstack_agent.extraction import number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("€ 1,234.50", 1234.5),
        ("1.234,50 €", 1234.5),
        ("1,234", 1234),
        ("1,234,567 people", 1234567),
        ("1.234.567", 1234567),
        ("3,5 %", 3.5),
        ("0,123", 0.123),
        ("1.234", 1.234),
        ("1 234 567,8", 1234567.8),
        ("1\u202f234", 1234),
        ("CHF 1'234.50", 1234.5),
        ("-7", -7),
        ("\u22127.25°", -7.25),
        ("+3", 3),
        ("Room 101, floor 2", 101),
        ("no. 5.", 5),
        ("1,2,3", 1.2),
        ("Room 101 2nd floor", 101),
        ("2024 100", 2024),
        ("1 2345", 1),
        ("none", None),
        ("", None),
        (None, None),
        ("9" * 400, None),
        ("x" * 100_000 + "1" * 100_000, None),
    ],
)
def test_numbers_as_people_write_them(text: str | None, value: float | None) -> None:
    assert number(text) == value
    assert type(number(text)) is type(value)
