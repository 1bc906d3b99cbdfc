"""The extract step: values of the page by selector, as text or numbers."""

from __future__ import annotations

import re
from typing import Any, Final

from driftstack_agent.deadline import Deadline
from driftstack_agent.errors import MessageTooLarge, ScriptError, StepError
from driftstack_agent.page import Page
from driftstack_agent.reach import script_problem
from driftstack_common.protocol import DOCUMENT_LIMIT, ProblemCode
from driftstack_common.protocol_steps import Extracted, Extraction

_NUMBER: Final = re.compile(r"[-+\u2212]?(?:\d[\d.,'\u2019\s\u00a0\u202f]*)?\d")
_GROUPS: Final = re.compile(r"['\u2019\s\u00a0\u202f]")
_THOUSANDS: Final = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+")


async def extract(page: Page, extractions: list[Extraction], deadline: Deadline) -> Extracted:
    """Read all values at one moment.

    Raises:
        StepError: invalid (a selector) or too-large.
        CdpFailure: the page doesn't answer, or is gone.
    """
    asked = {"extractions": [_asked(each) for each in extractions], "limit": DOCUMENT_LIMIT}
    try:
        values = await page.world.call(list[Any], "extract", asked, deadline)
    except ScriptError as error:
        if error.size is not None:
            raise too_large(error.size) from error
        raise script_problem(error, f"extractions.{error.index}.selector") from error
    except MessageTooLarge as error:
        raise too_large(error.size) from error
    pairs = zip(extractions, values, strict=True)
    return Extracted(value={each.name: _finished(each, value) for each, value in pairs})


def too_large(size: int) -> StepError:
    """Return the problem of an answer with so many characters."""
    message = f"the values have {size} characters or more, the limit is {DOCUMENT_LIMIT}"
    return StepError(ProblemCode.TOO_LARGE, message, limit_bytes=DOCUMENT_LIMIT, size_bytes=size)


def _asked(each: Extraction) -> dict[str, Any]:
    fields = None
    if each.extract is not None:
        fields = [
            {"selector": field.selector, "type": field.type, "attribute": field.attribute}
            for field in each.extract.values()
        ]
    return {"selector": each.selector, "type": each.type, "attribute": each.attribute, "fields": fields}


def _finished(each: Extraction, value: Any) -> Any:
    if each.extract is not None and each.type == "list":
        return [dict(zip(each.extract, row, strict=True)) for row in value]
    if each.transform is None:
        return value
    if each.type == "list":
        return [number(text) for text in value]
    return number(value)


def number(text: str | None) -> int | float | None:
    """Return the first number in a text, None without one.

    Spaces and apostrophes group digits. Of a point and a comma the later one is the decimal mark; a comma alone
    groups thousands where it stands as such (`1,234`), and is the decimal mark elsewhere (`3,5`).
    """
    match = _NUMBER.search(text or "")
    if match is None:
        return None
    digits = _GROUPS.sub("", match.group()).replace("\u2212", "-").removeprefix("+")
    if "," in digits and "." in digits:
        group, mark = (",", ".") if digits.rindex(".") > digits.rindex(",") else (".", ",")
        digits = digits.replace(group, "").replace(mark, ".")
    elif _THOUSANDS.fullmatch(digits.removeprefix("-")):
        digits = digits.replace(",", "")
    else:
        digits = digits.replace(",", ".")
    if digits.count(".") > 1:  # 1.234.567
        digits = digits.replace(".", "")
    return float(digits) if "." in digits else int(digits)
