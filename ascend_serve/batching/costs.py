"""What each gear costs on the device: t(g), as warm-up measured it.

Running gear g takes t(g) whatever the number of real rows in it (facts/batching_policy.md §1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from ascend_serve.errors import ConfigError
from ascend_serve.spec.gears import Gears

TIMER_STEP_MS = 0.001
"""The least a run is taken to cost: a timer of whole microseconds reads 0 below it."""


@dataclass(frozen=True, slots=True)
class CostTable:
    """Device time of one run at each gear.

    Attributes:
        gears: the compiled gears, ascending.
        ms: device time in milliseconds, one for each of `gears`.
    """

    gears: Gears
    ms: tuple[float, ...]

    @classmethod
    def of(cls, gears: Gears, measured: Mapping[int, float]) -> CostTable:
        """The table for `gears` from what was measured, in milliseconds by gear.

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
        for gear, ms in measured.items():
            if not isfinite(ms) or ms < 0:
                raise ConfigError(f"the cost of gear {gear} is {ms} ms; it must be finite and at least 0")
        return cls(gears, tuple(max(float(measured[gear]), TIMER_STEP_MS) for gear in gears))

    def ms_of(self, gear: int) -> float:
        """Device time of one run at `gear`, in milliseconds.

        Raises:
            ValueError: the model was not compiled for that gear.
        """
        return self.ms[self.gears.sizes.index(gear)]

    def best_gear(self, among: Gears) -> int:
        """The gear of `among` with the most rows per millisecond; the largest of equals."""
        return max(among, key=lambda gear: (gear / self.ms_of(gear), gear))

    def clear_ms(self, rows: int) -> float:
        """Milliseconds in which the device clears `rows` rows at its best rate."""
        best = self.best_gear(self.gears)
        return rows * self.ms_of(best) / best
