"""The routes of `/v1/usage`: read the request, call one service, answer."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Security

from driftstack_api.auth import READ, Caller, Requires
from driftstack_api.openapi import problems
from driftstack_api.services import services
from driftstack_api.usage.schemas import SeriesQuery, UsageBucket, UsageObject, UsageQuotas, UsageSeries

ANSWERS: Final = (UsageObject, UsageQuotas, UsageBucket)

router = APIRouter(prefix="/v1/usage", tags=["account"])

Reader = Annotated[Caller, Security(Requires(READ))]


@router.get("", summary="Read the usage of this month", responses=problems())
async def usage(request: Request, caller: Reader) -> UsageObject:
    """What the account has used this month, UTC, live sessions included; needs the broad scope `read`."""
    return await services(request).usage.period(caller)


@router.get("/series", summary="Read the usage of days", responses=problems("validation-failed"))
async def usage_series(request: Request, caller: Reader, query: Annotated[SeriesQuery, Query()]) -> UsageSeries:
    """What the account has used each day until yesterday, UTC; needs the broad scope `read`."""
    return await services(request).usage.series(caller, query.days)
