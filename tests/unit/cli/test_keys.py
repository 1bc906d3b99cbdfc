from __future__ import annotations

import re

import pytest

from driftstack_cli.keys import object_name


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("CI pipeline", "ci-pipeline"),
        ("  --Ü!", "key"),
        ("a" * 120, "a" * 50),
        ("x_y.z", "x-y-z"),
    ],
)
def test_names_are_readable_and_valid(title: str, slug: str) -> None:
    name = object_name(title)
    assert re.fullmatch(rf"{slug}-[a-z0-9]{{5}}", name)
    assert name != object_name(title)
