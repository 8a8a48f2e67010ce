"""When it is safe to have fewer replicas: the most that were needed lately are kept, and *lately* is learnt.

A replica that is given up and wanted back costs a start, in which the SLO breaks. So what was needed within the last
`hold_s` seconds is kept. If one is wanted back soon after, it was given up too early, and the hold grows to what would
have bridged the gap; it shrinks by and by while that does not happen. That is how disks learn when to spin down
(Douglis, Krishnan, Bershad: Adaptive Disk Spin-down Policies for Mobile Computers, 1995).
"""

from __future__ import annotations

from collections import deque

BRIDGE = 1.2
"""A hold bridges a gap like the one before, and a fifth more."""

_CALM = 4.0
"""Holds without regret after which it is halved."""


class Hold:
    """The most that was needed lately.

    Attributes:
        hold_s: how long lately is, in seconds.
    """

    def __init__(self) -> None:
        self.hold_s = 0.0
        self._learnt_s = 0.0
        self._needs: deque[tuple[float, int]] = deque()  # ever fewer, each when last needed
        self._given_up: list[tuple[float, int]] = []
        self._calm_since: float | None = None

    def keep(self, now: float, needed: int, *, least_s: float, most_s: float) -> int:
        """How many to have, when `needed` are needed now.

        Args:
            now: seconds.
            needed: replicas.
            least_s: the shortest hold.
            most_s: the longest.
        """
        if self._calm_since is None:
            self._calm_since = now
        before = self._needs[0][1] if self._needs else needed
        if needed > before:
            self._regret(now, needed, most_s)
        self.hold_s = min(max(self._learnt_s, least_s), most_s)
        while self._needs and self._needs[-1][1] <= needed:
            self._needs.pop()
        self._needs.append((now, needed))
        while self._needs[0][0] < now - self.hold_s:
            self._needs.popleft()
        kept = self._needs[0][1]
        if kept < before:
            self._given_up.append((now, kept))
        if now - self._calm_since > _CALM * self.hold_s:
            self._learnt_s /= 2
            self._calm_since = now
        return kept

    def _regret(self, now: float, needed: int, most_s: float) -> None:
        """Learn from replicas that are wanted back."""
        wanted = [at for at, kept in self._given_up if kept < needed]
        self._given_up = [(at, kept) for at, kept in self._given_up if kept >= needed and now - at <= most_s]
        if not wanted:
            return
        bridged_s = BRIDGE * (now - max(wanted) + self.hold_s)
        if bridged_s <= most_s:
            self._learnt_s = max(self._learnt_s, bridged_s)
            self._calm_since = now
