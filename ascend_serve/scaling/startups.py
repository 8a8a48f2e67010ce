"""How long it takes from asking for a replica until it serves."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import NamedTuple

USUAL_S = 15.0
"""What is expected before any start was seen: a Ray worker, a device, a model's load and its warm-up."""

LONGEST_S = 180.0
"""What is the most that a start is expected to take: one that waits for a card, or a node, says nothing of the next."""

_KEPT = 5


class _Start(NamedTuple):
    name: str
    asked_at: float
    took_s: float


class Startups:
    """Replicas that were asked for and do not serve yet, and how long those before them took.

    It sees targets and replicas that run. They serve in the order in which they were asked for, as far as can be told.
    """

    def __init__(self) -> None:
        self._asked_at: deque[float] = deque()
        self._took: deque[_Start] = deque(maxlen=_KEPT)
        self._seen: set[str] | None = None

    @property
    def expected_s(self) -> float:
        """Seconds that a start is expected to take: the most of the last few."""
        return min(LONGEST_S, max((start.took_s for start in self._took), default=USUAL_S))

    def look(self, now: float, target: int, running: Collection[str]) -> None:
        """Note how many replicas there are to be, and which of them run."""
        asked = self._asked_at
        fresh = [] if self._seen is None else [name for name in running if name not in self._seen]
        self._seen = set(running)
        for name in fresh[: len(asked)]:
            asked_at = asked.popleft()
            self._took.append(_Start(name, asked_at, now - asked_at))
        starting = max(0, target - len(running))
        while len(asked) > starting:  # those that were asked for last are given up first
            asked.pop()
        while len(asked) < starting:
            asked.append(now)

    def began(self, name: str, at: float) -> None:
        """Note when a replica began by its own account.

        One that was there before it was asked for, as far as is known here, did not start: it takes new settings, or is
        found again by a controller that starts anew.
        """
        for start in [start for start in self._took if start.name == name and at < start.asked_at]:
            self._took.remove(start)

    def serve_within_s(self, now: float) -> list[float]:
        """For each replica that was asked for, in how many seconds it should serve."""
        expected_s = self.expected_s
        return [max(0.0, at + expected_s - now) for at in self._asked_at]
