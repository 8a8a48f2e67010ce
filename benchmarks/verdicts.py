"""A claim against its floor and its target, in one line each. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.figures import Spread

PASS, MISS, NOISY = "PASS", "MISS", "NOISY"


class Grounds(NamedTuple):
    """What a figure rests on.

    Attributes:
        note: what a reader must know of it, such as how many rounds were dropped.
        trusted: whether the machine was quiet meanwhile; otherwise nothing is judged by the figure.
    """

    note: str = ""
    trusted: bool = True


SURE = Grounds()
"""For what no neighbour on the machine moves, and where others saw to it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure that is claimed.

    Attributes:
        claim: what it is, with its unit.
        figure: median and range over the rounds.
        floor: what must hold.
        target: what is aimed at; None when the claim has none.
        at_most: whether floor and target bound from above, not from below.
        digits: decimals to show.
        note: what a reader must know of it.
        trusted: whether the machine was quiet; otherwise the figure meets nothing and misses nothing.
    """

    claim: str
    figure: Spread
    floor: float | None
    target: float | None
    at_most: bool
    digits: int = 2
    note: str = ""
    trusted: bool = True

    @property
    def holds(self) -> bool:
        """Whether the median of trusted rounds meets the floor; a claim without one holds."""
        return self.floor is None or self._judged(self.floor) == PASS

    @property
    def on_target(self) -> bool:
        """Whether the median of trusted rounds meets the target; a claim without one does."""
        return self.target is None or self._judged(self.target) == PASS

    def _judged(self, bound: float) -> str:
        if not self.trusted:
            return NOISY
        median = self.figure.median
        return PASS if (median <= bound if self.at_most else median >= bound) else MISS

    def line(self) -> str:
        """`PASS floor 0.93, MISS target 0.99: 0.95 (0.94-0.96)  share of the device limit`.

        Where no round was quiet it is NOISY for both.
        """
        sign = "<=" if self.at_most else ">="
        said = [
            f"{self._judged(bound)} {name} {sign} {bound:.{self.digits}f}"
            for name, bound in (("floor", self.floor), ("target", self.target))
            if bound is not None
        ]
        note = f"  [{self.note}]" if self.note else ""
        unbounded = "no bound" if self.trusted else f"{NOISY}, no bound"
        return f"{', '.join(said) or unbounded}: {self.figure.show(self.digits)}  {self.claim}{note}"


def at_least(
    claim: str,
    figure: Spread,
    floor: float | None,
    target: float | None,
    digits: int = 2,
    grounds: Grounds = SURE,
) -> Verdict:
    """A figure that should be large."""
    return Verdict(claim, figure, floor, target, False, digits, *grounds)


def at_most(
    claim: str,
    figure: Spread,
    floor: float | None,
    target: float | None,
    digits: int = 2,
    grounds: Grounds = SURE,
) -> Verdict:
    """A figure that should be small."""
    return Verdict(claim, figure, floor, target, True, digits, *grounds)
