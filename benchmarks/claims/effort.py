"""How much is measured for a claim, and what comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from benchmarks.quiet import Kept, Reading, foreign_cores, interleave
from benchmarks.verdicts import Grounds, Verdict

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: quiet rounds of each side.
        most: passes at most, so that a busy machine ends, too.
        seconds: length of one round.
    """

    rounds: int = 5
    most: int = 10
    seconds: float = 3.0

    def alternate(self, names: Sequence[K], run: Callable[[K, int], R]) -> dict[K, Kept[R]]:
        """Run things in this process in turn, and watch the machine meanwhile.

        Args:
            names: what is run.
            run: runs one in the pass of that number.
        """

        def watched(name: K, number: int) -> tuple[R, float]:
            before = Reading.now(time.monotonic())
            found = run(name, number)
            return found, foreign_cores(before, Reading.now(time.monotonic()))

        return interleave(names, watched, rounds=self.rounds, most=self.most)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a claim found.

    Attributes:
        verdicts: a figure each.
        rounds: what they rest on, as a result keeps it.
        told: tables to print before them.
    """

    verdicts: list[Verdict]
    rounds: Sequence[Mapping[str, Any]]
    told: str = ""


def grounds_of(kept: Sequence[Kept[Any]]) -> Grounds:
    """What figures rest on that are taken over all rounds: how many were dropped, or that none was quiet."""
    if not all(each.trusted for each in kept):
        return Grounds("no quiet round", trusted=False)
    fewest, dropped = min(len(each.quiet) for each in kept), sum(each.dropped for each in kept)
    return Grounds(f"{fewest} quiet rounds" + (f", {dropped} dropped" if dropped else ""))
