"""What each gear costs on the device: t(g), as warm-up measured it and live batches refine it.

Running gear g takes t(g) whatever the number of real rows in it (facts: batching policy §1). A table is of one bucket:
the same batch size takes longer with larger rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from ascend_serve.errors import ConfigError
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages, Timing

TIMER_STEP_MS = 0.001
"""The least a run is taken to cost: a timer of whole microseconds reads 0 below it."""


@dataclass(frozen=True, slots=True)
class CostTable:
    """What one run costs at each gear of one bucket.

    Attributes:
        gears: the compiled gears, ascending.
        ms: milliseconds of compute, one for each of `gears`.
        copy_in_ms: milliseconds of the copy to the device, likewise; empty means 0 for all of them.
        copy_out_ms: milliseconds of the copy back, likewise.
        host_ms: milliseconds of the host around a run: from the decision until its copy in begins, and from the end of
            its copy out until that is known where decisions are taken.
        overlap: whether the stages of one batch may overlap those of another, since more than one is in flight.

    Raises:
        ValueError: not one time for each gear.
    """

    gears: Gears
    ms: tuple[float, ...]
    copy_in_ms: tuple[float, ...] = ()
    copy_out_ms: tuple[float, ...] = ()
    host_ms: float = 0.0
    overlap: bool = True

    def __post_init__(self) -> None:
        for name in ("copy_in_ms", "copy_out_ms"):
            if not getattr(self, name):
                object.__setattr__(self, name, (0.0,) * len(self.gears))
        for name in ("ms", "copy_in_ms", "copy_out_ms"):
            if len(getattr(self, name)) != len(self.gears):
                raise ValueError(f"{name} has {len(getattr(self, name))} times for {len(self.gears)} gears")

    @classmethod
    def of(cls, gears: Gears, measured: Mapping[int, float | Timing]) -> CostTable:
        """The table for `gears` from what was measured, by gear: milliseconds of compute, or all three stages.

        Nothing measured gives the neutral table: a run costs 1 ms at every gear, so the largest is best.

        Raises:
            ConfigError: a gear without a time, a time without a gear, or a time that is negative or infinite.
        """
        if not measured:
            return cls(gears, (1.0,) * len(gears))
        if set(measured) != set(gears):
            raise ConfigError(
                f"costs are given for gears {sorted(measured)}, but the model is compiled for {list(gears)}: "
                "give one time for each compiled gear, or none at all"
            )
        stages = [_stages_of(gear, measured[gear]) for gear in gears]
        return cls(
            gears,
            tuple(max(one.compute_ms, TIMER_STEP_MS) for one in stages),
            tuple(one.copy_in_ms for one in stages),
            tuple(one.copy_out_ms for one in stages),
        )

    def ms_of(self, gear: int) -> float:
        """Compute of one run at `gear`, in milliseconds.

        Raises:
            ValueError: the model was not compiled for that gear.
        """
        return self.ms[self.gears.sizes.index(gear)]

    def total_ms_of(self, gear: int) -> float:
        """One run at `gear` from the decision until its results are known, with nothing beside it; in milliseconds.

        Raises:
            ValueError: the model was not compiled for that gear.
        """
        at = self.gears.sizes.index(gear)
        return self.host_ms + self.copy_in_ms[at] + self.ms[at] + self.copy_out_ms[at]

    def pace_ms_of(self, gear: int) -> float:
        """Milliseconds from one batch at `gear` to the next: the longest stage where stages overlap, else all of it.

        Raises:
            ValueError: the model was not compiled for that gear.
        """
        at = self.gears.sizes.index(gear)
        return self.pace_of((self.copy_in_ms[at], self.ms[at], self.copy_out_ms[at]))

    def pace_of(self, stages: tuple[float, float, float]) -> float:
        """Likewise for the milliseconds of the stages of any batch."""
        return max(stages) if self.overlap else self.host_ms + sum(stages)

    def best_gear(self, among: Gears) -> int:
        """The gear of `among` with the most rows per millisecond; the largest of equals."""
        return max(among, key=lambda gear: (gear / self.pace_ms_of(gear), gear))

    def clear_ms(self, rows: int) -> float:
        """Milliseconds in which the device clears `rows` rows at its best rate."""
        best = self.best_gear(self.gears)
        return rows * self.pace_ms_of(best) / best


def _stages_of(gear: int, measured: float | Timing) -> Stages:
    stages = measured.stages if isinstance(measured, Timing) else Stages(0.0, float(measured), 0.0)
    for ms in stages:
        if not isfinite(ms) or ms < 0:
            raise ConfigError(f"the cost of gear {gear} is {ms} ms; it must be finite and at least 0")
    return stages
