"""The wire: what `/v1/usage` gives."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from driftstack_api.sessions.schemas import AnswerModel, Time, digits
from driftstack_common.kinds import Tier

LONGEST_SERIES: Final = 90
Count = Annotated[int, Field(ge=0)]
Quota = Annotated[int | None, Field(ge=0, description="Null: no limit.")]
Day = Annotated[str, Field(json_schema_extra={"format": "date"})]
_TOTALS: Final[dict[str, Any]] = {
    "session_minute": 412,
    "navigate": 96,
    "interact": 240,
    "wait": 31,
    "state_capture": 12,
    "screenshot_capture": 18,
}


class SeriesQuery(BaseModel):
    """Query of a series."""

    model_config = ConfigDict(extra="forbid")

    days: Annotated[int, Field(ge=1, le=LONGEST_SERIES), BeforeValidator(digits)] = Field(
        default=30, description="How many, yesterday the last."
    )


class UsageTotals(AnswerModel):
    """What was used."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TOTALS]})

    session_minute: Count = Field(description="Minutes of sessions, each session's part of a day rounded up.")
    navigate: Count = Field(description="Pages that were loaded.")
    interact: Count = Field(description="Interactions.")
    wait: Count = Field(description="Waits, met or not.")
    state_capture: Count = Field(description="What was read: state, extract, DOM snapshots.")
    screenshot_capture: Count = Field(description="What was pictured: screenshots and PDFs.")


class UsageQuotas(AnswerModel):
    """How much may be used in a period."""

    model_config = ConfigDict(json_schema_extra={"examples": [dict.fromkeys(_TOTALS)]})

    session_minute: Quota
    navigate: Quota
    interact: Quota
    wait: Quota
    state_capture: Quota
    screenshot_capture: Quota


class UsageObject(AnswerModel):
    """What was used in a calendar month, UTC."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "period_start": "2026-05-01T00:00:00.000Z",
                    "period_end": "2026-06-01T00:00:00.000Z",
                    "tier": "api_builder",
                    "totals": _TOTALS,
                    "quotas": dict.fromkeys(_TOTALS),
                }
            ]
        }
    )

    period_start: Time
    period_end: Time = Field(description="The first moment that is not part of it.")
    tier: Tier
    totals: UsageTotals
    quotas: UsageQuotas


class UsageBucket(AnswerModel):
    """What was used in a day, UTC."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"date": "2026-05-12", "totals": _TOTALS}, {"date": "2026-05-13", "totals": {}}]
        }
    )

    date: Day
    totals: dict[str, Count] = Field(description="As in UsageTotals; empty where nothing was used.")


class UsageSeries(AnswerModel):
    """What was used, day by day; every day is there."""

    from_date: Day = Field(examples=["2026-05-12"])
    to_date: Day = Field(description="Yesterday.", examples=["2026-05-13"])
    buckets: list[UsageBucket]
