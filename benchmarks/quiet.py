"""Was the machine ours in a round? Rounds with foreign load are dropped and repeated, within bounds."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import psutil  # type: ignore[import-untyped]  # it ships no types

FOREIGN_CORES = 0.3
"""Cores of foreign load above which a round says nothing."""

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
R = TypeVar("R")
K = TypeVar("K", bound=Hashable)


def adopt_orphans() -> None:
    """Keep everything that is started from here in this process's tree, also what outlives its parent (prctl(2)).

    Ray and the cards leave their parents; without this they would count as foreign.
    """
    if ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0):
        raise OSError("prctl(PR_SET_CHILD_SUBREAPER) failed")


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU seconds at one moment.

    Attributes:
        at: the moment, from `time.monotonic`.
        machine: time of all cores that were not idle, interrupts and what the hypervisor took away included. The kernel
            charges an interrupt to the process that it hits, as it does the network's work, so it is in `own` too (a
            kernel with IRQ_TIME_ACCOUNTING does not, and a round there looks a little busier with others' work).
        stolen: what the hypervisor took away.
        own: user and system time of all processes of this run. A child that has ended counts with its parent, so that
            only the sum can be compared with an earlier one.
    """

    at: float
    machine: float
    stolen: float
    own: float

    @classmethod
    def now(cls, at: float) -> Reading:
        """A reading of /proc, for the moment `at`."""
        first = Path("/proc/stat").read_text().split("\n", 1)[0]
        tick = os.sysconf("SC_CLK_TCK")
        user, nice, system, _idle, _wait, hard, soft, stolen = (
            int(count) / tick for count in first.split()[1:9]
        )
        own = 0.0
        here = psutil.Process()
        for process in (here, *here.children(recursive=True)):
            try:
                own += sum(process.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
        return cls(at, user + nice + system + hard + soft + stolen, stolen, own)


def foreign_cores(before: Reading, after: Reading) -> float:
    """Cores that others kept busy between two readings, stolen time included; not below 0."""
    machine, own = after.machine - before.machine, after.own - before.own
    return max(0.0, (machine - own) / (after.at - before.at))


@dataclass(slots=True)
class Kept(Generic[R]):
    """The rounds of one thing that is measured, each by the number of its pass.

    Attributes:
        quiet: rounds that count.
        noisy: rounds with foreign load.
    """

    quiet: dict[int, R] = field(default_factory=dict)
    noisy: dict[int, R] = field(default_factory=dict)

    @property
    def rounds(self) -> list[R]:
        """Those that count; all of them if the machine was never quiet."""
        return list((self.quiet or self.noisy).values())

    @property
    def all_rounds(self) -> list[tuple[int, R, bool]]:
        """Every round: the number of its pass, what was seen, and whether it counts; the quiet ones first."""
        return [
            (number, one, counts)
            for rounds, counts in ((self.quiet, True), (self.noisy, not self.trusted))
            for number, one in rounds.items()
        ]

    @property
    def dropped(self) -> int:
        """Rounds that do not count."""
        return len(self.noisy) if self.quiet else 0

    @property
    def trusted(self) -> bool:
        """Whether a quiet round is among them."""
        return bool(self.quiet)

    def beside(self, other: Kept[R]) -> tuple[list[tuple[R, R]], bool]:
        """Rounds of this and of another, pass by pass, and whether they count.

        Those of passes in which both were quiet count. If there is none, all passes that both were measured in are
        given, and none counts.
        """
        both = [number for number in self.quiet if number in other.quiet]
        if both:
            return [(self.quiet[number], other.quiet[number]) for number in both], True
        mine, theirs = {**self.quiet, **self.noisy}, {**other.quiet, **other.noisy}
        return [(mine[number], theirs[number]) for number in sorted(mine.keys() & theirs.keys())], False


def interleave(
    names: Sequence[K],
    measure: Callable[[K, int], tuple[R, float]],
    *,
    rounds: int,
    most: int,
    foreign: float = FOREIGN_CORES,
) -> dict[K, Kept[R]]:
    """Measure things in turn until each has its quiet rounds or has been measured often enough.

    Args:
        names: what is measured, in turn: A B A B, so that neighbours in time saw the same machine.
        measure: measures one once, in the pass of that number: what it found, and the foreign cores meanwhile.
        rounds: quiet rounds that each shall have.
        most: passes at most.
        foreign: cores of foreign load above which a round is noisy.
    """
    kept: dict[K, Kept[R]] = {name: Kept() for name in names}
    for number in range(most):
        for name in names:
            mine = kept[name]
            if len(mine.quiet) < rounds:
                found, cores = measure(name, number)
                (mine.quiet if cores <= foreign else mine.noisy)[number] = found
        if all(len(mine.quiet) >= rounds for mine in kept.values()):
            break
    return kept
