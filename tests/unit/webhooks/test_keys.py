"""Which keys sign: out of Secrets, looked at now and then."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest

from driftstack_common.kube.client import SECRET as KIND
from driftstack_common.kube.errors import Forbidden, KubeError
from driftstack_operator.webhooks.keys import MISSED, REMEMBERED, NoKey, SigningKeys
from tests.unit.operator.fakes import FakeKube
from tests.unit.webhooks.builders import NAMESPACE, NOW, SECRET, endpoint


class World:
    def __init__(self) -> None:
        self.kube = FakeKube()
        self.now = 0.0
        self.keys = SigningKeys(self.kube, clock=lambda: self.now)

    def put(self, value: bytes, entry: str = "secret", name: str = "hook") -> None:
        data = {entry: base64.b64encode(value).decode()}
        self.kube.put(KIND, {"metadata": {"name": name, "namespace": NAMESPACE}, "data": data})


@pytest.fixture
def world() -> World:
    return World()


async def test_key_is_read_and_remembered(world: World) -> None:
    world.put(SECRET.encode())
    assert await world.keys.of(endpoint(), NOW) == [SECRET]
    world.put(b"another-key-of-24-letters")
    assert await world.keys.of(endpoint(), NOW) == [SECRET]
    world.now = REMEMBERED
    assert await world.keys.of(endpoint(), NOW) == ["another-key-of-24-letters"]


async def test_missing_key_is_soon_looked_for_again(world: World) -> None:
    with pytest.raises(NoKey, match="create the Secret hook with the entry secret"):
        await world.keys.of(endpoint(), NOW)
    world.put(SECRET.encode())
    with pytest.raises(NoKey):
        await world.keys.of(endpoint(), NOW)
    world.now = MISSED
    assert await world.keys.of(endpoint(), NOW) == [SECRET]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"short", "SecretInvalid"),
        (SECRET.encode() + b"\n", "SecretInvalid"),
        (b"sixteen letters and spaces", "SecretInvalid"),
        ("schlüssel-mit-umlaut".encode(), "SecretInvalid"),
        (bytes(range(32)), "SecretInvalid"),
    ],
)
async def test_key_that_a_receiver_could_not_have(world: World, value: bytes, reason: str) -> None:
    world.put(value)
    with pytest.raises(NoKey, match="visible ASCII") as caught:
        await world.keys.of(endpoint(), NOW)
    assert caught.value.reason == reason
    assert value.decode("utf-8", "replace") not in str(caught.value)


async def test_entry_of_another_name(world: World) -> None:
    world.put(SECRET.encode(), entry="key")
    with pytest.raises(NoKey, match="has no entry secret"):
        await world.keys.of(endpoint(), NOW)
    assert await world.keys.of(endpoint(secretRef={"name": "hook", "key": "key"}), NOW) == [SECRET]


async def test_previous_key_signs_until_it_expires_or_is_removed(world: World) -> None:
    world.put(SECRET.encode())
    world.put(b"old-key-of-24-characters", name="old")
    previous = {"name": "old", "expiresAt": (NOW + timedelta(hours=1)).isoformat()}
    hook = endpoint(previousSecretRef=previous)
    assert await world.keys.of(hook, NOW) == [SECRET, "old-key-of-24-characters"]
    assert await world.keys.of(hook, NOW + timedelta(hours=1)) == [SECRET]
    world.kube.vanish(KIND, NAMESPACE, "old")
    world.now = REMEMBERED
    assert await world.keys.of(hook, NOW) == [SECRET]


async def test_no_right_yet_is_no_key_and_an_outage_is_an_outage(world: World) -> None:
    world.put(SECRET.encode())
    world.kube.fail("get", "secrets", Forbidden("no", status=403))
    with pytest.raises(NoKey, match="can't be read yet"):
        await world.keys.of(endpoint(), NOW)
    world.now = MISSED
    world.kube.fail("get", "secrets", KubeError("away", status=503))
    with pytest.raises(KubeError):
        await world.keys.of(endpoint(), NOW)
    assert await world.keys.of(endpoint(), NOW) == [SECRET]
