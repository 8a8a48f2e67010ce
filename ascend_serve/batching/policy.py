"""Policies: at which gear to run what waits, by name.

A policy only chooses. The planner makes the choice fit: it steps up to a gear that holds the first ticket
whole, and down to the smallest gear that holds the rows it took, for whole tickets seldom add up to a gear.

A policy is asked when the device is idle or about to be. What fills the best gear (most rows per millisecond) is sealed
at once, whatever the policy; only `fixed_wait` closes its batches by itself.

`optimal` weighs what the choice means for the batches after it and stands in a file of its own. The others look
at this one batch: `pad_up`, `step_down` and `min_cost` are the rules of TensorFlow Serving's padding policies
(facts: peers §4.1), `fixed_wait` is what `@serve.batch` does (facts: Ray Serve §1.2), `fixed` has one gear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import gcd, isfinite
from typing import Any

from ascend_serve.batching.choice import WAIT, Closing, ClosingPolicy, Policy, View
from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.optimal import Optimal
from ascend_serve.errors import ConfigError
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.text import nearest

__all__ = [
    "POLICIES",
    "WAIT",
    "Closing",
    "ClosingPolicy",
    "Fixed",
    "FixedWait",
    "LeastTime",
    "MinCost",
    "Optimal",
    "PadUp",
    "Policy",
    "StepDown",
    "View",
    "check_fits",
    "policy_named",
]


class _AtOnce:
    """What the policies have in common that look at one batch and never wait: nothing to prepare, no patience."""

    __slots__ = ()

    @property
    def patience_ms(self) -> float | None:
        """None: only events matter."""
        return None

    def usable(self, compiled: Gears) -> Gears:
        """All of them."""
        return compiled


@dataclass(frozen=True, slots=True)
class PadUp(_AtOnce):
    """Rounds up: the smallest gear that covers what waits, the largest when more waits than that."""

    def prepared(self, tables: Sequence[CostTable]) -> PadUp:
        """Itself."""
        return self

    def choose(self, view: View) -> int:
        """The smallest gear with room for all that waits."""
        return view.gears.cover(view.rows)


@dataclass(frozen=True, slots=True)
class StepDown(_AtOnce):
    """Rounds down: the largest gear that is full, the smallest when none is (BATCH_DOWN of facts: peers §4.1)."""

    def prepared(self, tables: Sequence[CostTable]) -> StepDown:
        """Itself."""
        return self

    def choose(self, view: View) -> int:
        """The largest gear that what waits fills."""
        return _full(view) or view.gears.sizes[0]


@dataclass(frozen=True, slots=True)
class MinCost(_AtOnce):
    """Rounds up or down, whichever costs less device time per row of this batch; equals go down.

    MINIMIZE_TPU_COST_PER_REQUEST of facts: peers §4.1, on costs measured at warm-up instead of in passing.
    """

    def prepared(self, tables: Sequence[CostTable]) -> MinCost:
        """Itself."""
        return self

    def choose(self, view: View) -> int:
        """The next gear up or down from what waits."""
        rows = min(view.rows, view.gears.largest)
        up, down = view.gears.cover(rows), _full(view)
        if not down or down == up:
            return up
        ms_of = view.costs.ms_of
        return up if ms_of(up) / rows < ms_of(down) / down else down


@dataclass(frozen=True, slots=True)
class LeastTime(_AtOnce):
    """Clears all that waits in the least device time: for rows that are all there, none of them waited for alone.

    It has no name that settings use, since whoever serves cares for each answer.
    """

    def prepared(self, tables: Sequence[CostTable]) -> LeastTime:
        """Itself."""
        return self

    def choose(self, view: View) -> int:
        """The gear that the shortest way through all rows begins with; the largest of equals."""
        gears = view.gears
        if view.rows >= 2 * gears.largest:
            return view.costs.best_gear(gears)
        # Gears of thousands of rows have a large divisor in common, and what waits is padded up to it anyway.
        unit = gcd(*gears)
        ways = [(gear // unit, view.costs.pace_ms_of(gear)) for gear in gears]
        least_ms = [0.0]
        for units in range(1, -(-view.rows // unit) + 1):
            least_ms.append(min(ms + least_ms[max(0, units - size)] for size, ms in ways))
        left = len(least_ms) - 1
        return unit * min(ways, key=lambda way: (way[1] + least_ms[max(0, left - way[0])], -way[0]))[0]


@dataclass(frozen=True, slots=True)
class FixedWait:
    """Closes a batch on size or on a timer from its first row, then runs it padded up, as `@serve.batch` does.

    A closed batch does not grow, however long the device is busy with those before it.

    Attributes:
        max_batch_size: the most rows of a batch; None is the largest gear.
        wait_ms: how long the first row waits for others, in milliseconds.

    Raises:
        ConfigError: a value out of range.
    """

    max_batch_size: int | None = None
    wait_ms: float = 10.0

    def __post_init__(self) -> None:
        size, wait = self.max_batch_size, self.wait_ms
        if size is not None:
            _check_rows("fixed_wait", "max_batch_size", size)
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not isfinite(wait) or wait < 0:
            raise ConfigError(
                f"policy 'fixed_wait': wait_ms is {wait!r}; it is a finite number of at least 0"
            )

    @property
    def patience_ms(self) -> float | None:
        """The timer: with it a batch closes though nobody came."""
        return self.wait_ms

    def usable(self, compiled: Gears) -> Gears:
        """All of them."""
        return compiled

    def prepared(self, tables: Sequence[CostTable]) -> FixedWait:
        """Itself."""
        return self

    def closing(self, usable: Gears) -> Closing:
        """The size, the largest gear unless one was given, and the timer.

        Raises:
            ConfigError: the size is larger than the largest gear.
        """
        size = usable.largest if self.max_batch_size is None else self.max_batch_size
        if size > usable.largest:
            raise ConfigError(
                f"policy 'fixed_wait': max_batch_size is {size}, but the largest gear is {usable.largest}: "
                "give at most that, or compile a larger gear"
            )
        return Closing(size, self.wait_ms)

    def choose(self, view: View) -> int:
        """The smallest gear with room for the closed batch, or WAIT while it is open."""
        size = self.closing(view.gears).rows
        if view.rows < size and view.oldest_ms < self.wait_ms:
            return WAIT
        return view.gears.cover(min(view.rows, size))


@dataclass(frozen=True, slots=True)
class Fixed(_AtOnce):
    """Runs one gear only, whatever waits.

    Attributes:
        gear: the gear, in rows; None is the largest that is compiled.

    Raises:
        ConfigError: a gear that is not a whole number of at least 1.
    """

    gear: int | None = None

    def __post_init__(self) -> None:
        if self.gear is not None:
            _check_rows("fixed", "gear", self.gear)

    def usable(self, compiled: Gears) -> Gears:
        """The one gear.

        Raises:
            ConfigError: it is not compiled.
        """
        if self.gear is None:
            return Gears((compiled.largest,))
        if self.gear not in compiled:
            raise ConfigError(f"policy 'fixed': gear {self.gear} is not compiled; compiled: {list(compiled)}")
        return Gears((self.gear,))

    def prepared(self, tables: Sequence[CostTable]) -> Fixed:
        """Itself."""
        return self

    def choose(self, view: View) -> int:
        """The one usable gear."""
        return view.gears.largest


def _full(view: View) -> int:
    """The largest usable gear that what waits fills, or 0."""
    return max((gear for gear in view.gears if gear <= view.rows), default=0)


def _check_rows(policy: str, option: str, value: object) -> None:
    """Refuse what is no number of rows."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"policy '{policy}': {option} is {value!r}; it is a whole number of at least 1")


POLICIES: dict[str, Any] = {
    "optimal": Optimal,
    "pad_up": PadUp,
    "step_down": StepDown,
    "min_cost": MinCost,
    "fixed_wait": FixedWait,
    "fixed": Fixed,
}
"""Every policy by the name that settings use; the fields of its class are its options."""


def check_fits(policy: Policy, compiled: Gears) -> None:
    """Check that a policy can decide for a model with these gears.

    Raises:
        ConfigError: it wants a gear that is not compiled, or closes batches that are larger than any.
    """
    usable = policy.usable(compiled)
    if isinstance(policy, ClosingPolicy):
        policy.closing(usable)


def policy_named(name: str, **options: object) -> Policy:
    """The policy of that name with its options, as `policy_named("fixed", gear=8)`.

    Raises:
        ConfigError: no such policy, an option it does not have, or a wrong value.
    """
    kind = POLICIES.get(name)
    if kind is None:
        raise ConfigError(f"no policy is named '{name}'{nearest(name, POLICIES)}")
    known = [field.name for field in fields(kind) if field.init]
    for option in options:
        if option not in known:
            takes = nearest(option, known) if known else "; it takes none"
            raise ConfigError(f"policy '{name}' has no option '{option}'{takes}")
    policy: Policy = kind(**options)
    return policy
