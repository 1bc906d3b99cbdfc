from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from driftstack_cli.errors import CliError
from driftstack_cli.keys import object_name, retire
from driftstack_common.kinds import ApiKey, from_body
from driftstack_common.kube.errors import Conflict
from driftstack_common.times import format_time, now
from tests.unit.api.fake_kube import FakeKube

SUCCESSOR = {"metadata": {"name": "new"}}


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


class Stored:
    """A key in an API server, read before others change it."""

    def __init__(self) -> None:
        self.kube = FakeKube()
        self.put()
        self.key = from_body(ApiKey, self.kube.objects["apikeys", "acct-acme", "old"])

    def put(self, uid: str = "u1", **spec: Any) -> None:
        meta = {"name": "old", "namespace": "acct-acme", "uid": uid}
        given = {"name": "old", "scopes": ["read"], "sha256": "0" * 64, **spec}
        self.kube.put("apikeys", {"metadata": meta, "spec": given})

    async def retire(self) -> None:
        await retire(self.kube, self.key, SUCCESSOR)  # type: ignore[arg-type]

    @property
    def spec(self) -> Any:
        return self.kube.objects["apikeys", "acct-acme", "old"]["spec"]


async def test_an_end_that_others_set_meanwhile_stands() -> None:
    stored, soon = Stored(), format_time(now() + timedelta(minutes=10))
    stored.put(expiresAt=soon)
    await stored.retire()
    assert (stored.spec["expiresAt"], stored.spec["replacedBy"]) == (soon, "new")


async def test_of_two_rotations_one_is_told() -> None:
    stored = Stored()
    stored.put(replacedBy="other")
    with pytest.raises(CliError, match="other replaces it"):
        await stored.retire()
    assert stored.spec["replacedBy"] == "other"


async def test_another_key_of_the_name_is_left_alone() -> None:
    stored = Stored()
    stored.put("u2")
    with pytest.raises(Conflict):
        await stored.retire()
    assert "replacedBy" not in stored.spec
