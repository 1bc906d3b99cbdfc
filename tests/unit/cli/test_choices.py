"""What the options offer is what the schemas take."""

from __future__ import annotations

from enum import StrEnum
from typing import get_args

import pytest
from pydantic import BaseModel

from driftstack_api.sessions.schemas import CaptureRequest, CreateSession, NavigateRequest
from driftstack_api.webhooks.schemas import DeliveryQuery
from driftstack_cli import choices
from driftstack_common.kinds import SubscribableEvent, Tier
from tests.contract.crds import crds


def test_tiers() -> None:
    assert list(choices.Tier) == list(Tier)


def test_members() -> None:
    schema = crds()["Account"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    member = schema["properties"]["spec"]["properties"]["members"]["items"]["properties"]
    assert list(choices.MemberRole) == member["role"]["enum"]
    assert sorted(choices.MemberKind) == sorted(member["kind"]["enum"])


def test_scopes() -> None:
    schema = crds()["ApiKey"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert list(choices.Scope) == schema["properties"]["spec"]["properties"]["scopes"]["items"]["enum"]


def test_events() -> None:
    assert list(choices.Event) == list(get_args(SubscribableEvent))


@pytest.mark.parametrize(
    ("offered", "model", "field"),
    [
        (choices.Pace, CreateSession, "behavioral_profile"),
        (choices.WaitUntil, NavigateRequest, "wait_until"),
        (choices.Captured, CaptureRequest, "kind"),
        (choices.DeliveryStatus, DeliveryQuery, "status"),
    ],
)
def test_what_rest_takes(offered: type[StrEnum], model: type[BaseModel], field: str) -> None:
    annotation = model.model_fields[field].annotation
    literals = [literal for part in (annotation, *get_args(annotation)) for literal in get_args(part)]
    assert {one for one in literals if isinstance(one, str)} == set(offered)
