"""Keys that wait for a worker, in lanes that take turns: who has many can't make others wait."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")


class Lanes(Generic[K]):
    """A queue of keys, fair between lanes and in order within each.

    Args:
        lane_of: the lane of a key, asked when it comes.
        share: keys of one lane that may be worked on at once.
    """

    def __init__(self, lane_of: Callable[[K], str], share: int) -> None:
        self._lane_of = lane_of
        self._share = share
        self._waiting: dict[str, deque[K]] = {}
        self._working: dict[K, str] = {}
        self._busy: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, key: K) -> None:
        """Take a key in."""
        self._waiting.setdefault(self._lane_of(key), deque()).append(key)

    def take(self) -> K | None:
        """Return the next key to work on, None when none may be; call `done` with it afterwards."""
        lane = next((lane for lane in self._waiting if self._busy[lane] < self._share), None)
        if lane is None:
            return None
        waiting = self._waiting.pop(lane)
        key = waiting.popleft()
        if waiting:
            self._waiting[lane] = waiting  # the last in turn
        self._working[key] = lane
        self._busy[lane] += 1
        return key

    def done(self, key: K) -> None:
        """A key is no longer worked on."""
        lane = self._working.pop(key, None)
        if lane is not None:
            self._busy[lane] -= 1
            if not self._busy[lane]:
                del self._busy[lane]

    def clear(self) -> None:
        """Forget the keys that wait."""
        self._waiting.clear()
