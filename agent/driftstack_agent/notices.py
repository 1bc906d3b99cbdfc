"""What pages wanted of a person: collected, bounded, given with the next answer that tells of it.

What a step causes may come after its answer, a download for one, so nothing is lost between steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from driftstack_common.protocol import NOTICE_LIMIT, Notice, NoticeKind, Outcome

_SHOWN: Final = 500


class Notices:
    """What has not been told yet.

    Attributes:
        stepping: a step runs.
        silent: no texts are noted, which might repeat what is being typed.
        attended: whether a DevTools client hears of the dialogs of a page (a target id) and may answer them.
    """

    def __init__(self) -> None:
        self.stepping = False
        self.silent = False
        self.attended: Callable[[str], bool] = lambda _: False
        self._found: list[Notice] = []

    def take(self) -> list[Notice]:
        """Return what happened since the last time."""
        found, self._found = self._found, []
        return found

    def add(self, kind: NoticeKind, outcome: Outcome, text: str = "", url: str = "") -> None:
        """Note something, unless enough is noted."""
        if self.silent:
            text = url = ""
        if len(self._found) < NOTICE_LIMIT:
            self._found.append(Notice(kind=kind, outcome=outcome, text=text[:_SHOWN], url=url[:_SHOWN]))
