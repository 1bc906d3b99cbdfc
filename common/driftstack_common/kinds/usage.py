"""AccountUsage: what the ended sessions of an account have used, day by day, after their records are gone."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta as Bound

from driftstack_common.kinds.meta import Kind, Model, Resource

Count = Annotated[int, Bound(ge=0)]


class StepCounts(Model, frozen=True, kw_only=True):
    """Steps that succeeded, by what they did.

    Attributes:
        state_capture: what was read: state, extract, DOM snapshots.
        screenshot_capture: what was pictured: screenshots and PDFs.
    """

    navigate: Count = 0
    interact: Count = 0
    wait: Count = 0
    state_capture: Count = 0
    screenshot_capture: Count = 0


class DayUsage(StepCounts, frozen=True, kw_only=True):
    """What was used in one day, UTC."""

    session_minute: Count = 0


class AccountUsageSpec(Model, frozen=True, kw_only=True):
    """Sums over records.

    Attributes:
        days: by date, `2026-05-12`.
        folded: uids of sessions whose record is part of the sums, and may still be there.
    """

    days: dict[str, DayUsage] = {}
    folded: list[str] = []


class AccountUsage(Resource, frozen=True, kw_only=True):
    """An AccountUsage object; there is one in an account's namespace, called USAGE_NAME."""

    KIND: ClassVar[Kind] = Kind("AccountUsage", "accountusages")
    spec: AccountUsageSpec = AccountUsageSpec()
