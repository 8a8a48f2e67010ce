"""A claim against its floor and its target, in one line each. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.figures import Spread

PASS, MISS = "PASS", "MISS"


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
        note: what a reader must know of it, such as that the machine was never quiet.
    """

    claim: str
    figure: Spread
    floor: float | None
    target: float | None
    at_most: bool
    digits: int = 2
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the median meets the floor; a claim without one holds."""
        return self._meets(self.floor)

    @property
    def on_target(self) -> bool:
        """Whether the median meets the target."""
        return self._meets(self.target)

    def _meets(self, bound: float | None) -> bool:
        if bound is None:
            return True
        return self.figure.median <= bound if self.at_most else self.figure.median >= bound

    def line(self) -> str:
        """`PASS floor 0.93, MISS target 0.99: 0.95 (0.94-0.96)  share of the device limit`."""
        sign = "<=" if self.at_most else ">="
        said = [
            f"{PASS if self._meets(bound) else MISS} {name} {sign} {bound:.{self.digits}f}"
            for name, bound in (("floor", self.floor), ("target", self.target))
            if bound is not None
        ]
        note = f"  [{self.note}]" if self.note else ""
        return f"{', '.join(said) or 'no bound'}: {self.figure.show(self.digits)}  {self.claim}{note}"


def at_least(
    claim: str, figure: Spread, floor: float | None, target: float | None, digits: int = 2, note: str = ""
) -> Verdict:
    """A figure that should be large."""
    return Verdict(claim, figure, floor, target, at_most=False, digits=digits, note=note)


def at_most(
    claim: str, figure: Spread, floor: float | None, target: float | None, digits: int = 2, note: str = ""
) -> Verdict:
    """A figure that should be small."""
    return Verdict(claim, figure, floor, target, at_most=True, digits=digits, note=note)
