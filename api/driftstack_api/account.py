"""`GET /v1/whoami`: which account and key a caller has."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Security
from pydantic import BaseModel, ConfigDict, Field

from driftstack_api.auth import Caller, Requires
from driftstack_api.openapi import problems
from driftstack_api.sessions.schemas import UUID_PATTERN
from driftstack_common.kinds import Tier

router = APIRouter(prefix="/v1", tags=["account"])


class Whoami(BaseModel):
    """The caller."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account_id": "acc_1f6a3b52-8c4d-4e7f-9a0b-3d5c7e9f1a2b",
                    "api_key_id": "key_7b3e5d1c-2a4f-4c6e-8b9d-0f1a2c3e4d5b",
                    "tier": "api_builder",
                    "scopes": ["read", "write"],
                }
            ]
        }
    )

    account_id: str = Field(pattern=f"^acc_{UUID_PATTERN}$")
    api_key_id: str = Field(pattern=f"^key_{UUID_PATTERN}$")
    tier: Tier
    scopes: list[str] = Field(description="What the key may do; see the reference of keys and scopes.")


@router.get("/whoami", summary="Who am I", responses=problems())
async def whoami(caller: Annotated[Caller, Security(Requires(None))]) -> Whoami:
    """Account, key, tier and scopes of the key; any valid key may ask."""
    return Whoami(
        account_id=caller.account.id,
        api_key_id=caller.key.id,
        tier=caller.account.spec.tier,
        scopes=caller.key.spec.scopes,
    )
