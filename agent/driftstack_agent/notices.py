"""What pages wanted of a person while a step ran: collected, bounded, given with the step's answer."""

from __future__ import annotations

from typing import Final

from driftstack_common.protocol import NOTICE_LIMIT, Notice, NoticeKind, Outcome

_SHOWN: Final = 500


class Notices:
    """Those of the running step; what happens between steps is nobody's answer.

    Attributes:
        collecting: a step runs.
        found: what happened in it, or in the last one.
    """

    def __init__(self) -> None:
        self.collecting = False
        self.found: list[Notice] = []

    def begin(self) -> None:
        """A step starts."""
        self.collecting = True
        self.found = []

    def end(self) -> None:
        """The step has ended; what it found stays until the next begins."""
        self.collecting = False

    def add(self, kind: NoticeKind, outcome: Outcome, text: str = "", url: str = "") -> None:
        """Note something, unless no step runs or enough is noted."""
        if self.collecting and len(self.found) < NOTICE_LIMIT:
            self.found.append(Notice(kind=kind, outcome=outcome, text=text[:_SHOWN], url=url[:_SHOWN]))


def without_texts(notices: list[Notice]) -> list[Notice]:
    """Return notices that can't repeat what was typed."""
    return [Notice(kind=notice.kind, outcome=notice.outcome) for notice in notices]
