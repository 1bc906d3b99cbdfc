"""The dispatcher's copy of deliveries."""

from __future__ import annotations

from msgspec.structs import replace

from driftstack_common.kinds import to_body
from driftstack_common.kube.pages import SMALL_PAGE
from driftstack_operator.webhooks.app import Dispatcher
from driftstack_operator.webhooks.outcomes import KEPT
from driftstack_operator.webhooks.sender import Sender
from driftstack_operator.webhooks.settings import Settings
from tests.unit.operator.fakes import FakeKube
from tests.unit.webhooks.builders import delivery, endpoint


async def test_few_bodies_are_read_at_once_and_large_ones_not_kept() -> None:
    settings = Settings()
    sender = Sender(settings.rules)
    copy = Dispatcher(FakeKube(), settings, sender, "here")._delivery_copy
    await sender.close()
    assert copy._timing.page == SMALL_PAGE
    one = delivery(endpoint())
    one = replace(one, spec=replace(one.spec, payload="x" * (KEPT + 1)))
    copy._take({"type": "ADDED", "object": to_body(one)})
    assert [kept.spec.payload for kept in copy.objects.values()] == [""]
