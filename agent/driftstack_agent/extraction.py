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

_NUMBER: Final = re.compile(
    r"""
    (?P<sign> [-+\u2212]? )
    (?P<whole>
        [1-9]\d{0,2} (?: ['\u2019\s] \d{3} )+ (?!\d)  # 1 234, 1'234
      | [1-9]\d{0,2} (?: ,  \d{3} )+ (?!\d)          # 1,234
      | [1-9]\d{0,2} (?: \. \d{3} ){2,} (?!\d)       # 1.234.567
      | [1-9]\d{0,2} (?: \. \d{3} )+ (?=,\d)         # 1.234,5
      | \d+
    )
    (?: [.,] (?P<fraction> \d+ ) )?
    """,
    re.VERBOSE | re.ASCII,
)
_SPACES: Final = re.compile(r"\s")
"""Typographers' spaces included."""
_MOST_DIGITS: Final = 300
"""More is no number that JSON's readers know."""


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

    Spaces, apostrophes and commas that stand before three digits group them, and so do points, if there are several
    or a comma follows. Any other point or comma is the decimal mark: `1,234.5`, `1.234,5`, `3,5`.
    """
    match = _NUMBER.search(_SPACES.sub(" ", text or ""))
    if match is None:
        return None
    sign = "-" if match["sign"] in ("-", "\u2212") else ""
    whole = re.sub(r"\D", "", match["whole"])
    if len(whole) > _MOST_DIGITS:
        return None
    return int(sign + whole) if match["fraction"] is None else float(f"{sign}{whole}.{match['fraction']}")
