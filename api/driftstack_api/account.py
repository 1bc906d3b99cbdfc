"""`GET /v1/whoami`: which account and key a caller has."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Security
from pydantic import BaseModel

from driftstack_api.auth import Caller, Requires
from driftstack_api.openapi import problems
from driftstack_common.kinds import Tier

router = APIRouter(prefix="/v1", tags=["account"])


class Whoami(BaseModel):
    """The caller."""

    account_id: str
    api_key_id: str
    tier: Tier
    scopes: list[str]


@router.get("/whoami", summary="Who am I", responses=problems())
async def whoami(caller: Annotated[Caller, Security(Requires(None))]) -> Whoami:
    """Account, key, tier and scopes of the key; any valid key may ask."""
    return Whoami(
        account_id=caller.account.id,
        api_key_id=caller.key.id,
        tier=caller.account.spec.tier,
        scopes=caller.key.spec.scopes,
    )
