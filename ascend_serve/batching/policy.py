"""Policies: at which gear to run what waits, by name.

A policy only chooses. The planner makes the choice fit: it steps up to a gear that holds the first ticket
whole, and down to the smallest gear that holds the rows it took, for whole tickets seldom add up to a gear.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

from ascend_serve.batching.costs import CostTable
from ascend_serve.errors import ConfigError
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.text import nearest


class Policy(Protocol):
    """Chooses a gear for what waits."""

    def usable(self, compiled: Gears) -> Gears:
        """The compiled gears that this policy may ever choose.

        Raises:
            ConfigError: the policy was given a gear that is not compiled.
        """
        ...

    def choose(self, rows_waiting: int, gears: Gears, costs: CostTable) -> int:
        """The gear of `gears` (the usable ones) to run now, with `rows_waiting` of at least 1."""
        ...


@dataclass(frozen=True, slots=True)
class PadUp:
    """Rounds up: the smallest gear that covers what waits, the largest when more waits than that."""

    def usable(self, compiled: Gears) -> Gears:
        """All of them."""
        return compiled

    def choose(self, rows_waiting: int, gears: Gears, costs: CostTable) -> int:
        """The smallest gear with room for `rows_waiting`."""
        return gears.cover(rows_waiting)


@dataclass(frozen=True, slots=True)
class Fixed:
    """Runs one gear only, whatever waits.

    Attributes:
        gear: the gear, in rows; None is the largest that is compiled.

    Raises:
        ConfigError: a gear that is not a whole number of at least 1.
    """

    gear: int | None = None

    def __post_init__(self) -> None:
        if self.gear is None:
            return
        if isinstance(self.gear, bool) or not isinstance(self.gear, int) or self.gear < 1:
            raise ConfigError(f"policy 'fixed': gear is {self.gear!r}; it is a whole number of at least 1")

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

    def choose(self, rows_waiting: int, gears: Gears, costs: CostTable) -> int:
        """The one usable gear."""
        return gears.largest


POLICIES: dict[str, type[PadUp] | type[Fixed]] = {"pad_up": PadUp, "fixed": Fixed}
"""Every policy by the name that settings use; the fields of its class are its options."""


def policy_named(name: str, **options: object) -> Policy:
    """The policy of that name with its options, as `policy_named("fixed", gear=8)`.

    Raises:
        ConfigError: no such policy, an option it does not have, or a wrong value.
    """
    kind = POLICIES.get(name)
    if kind is None:
        raise ConfigError(f"no policy is named '{name}'{nearest(name, POLICIES)}")
    known = [field.name for field in fields(kind)]
    for option in options:
        if option not in known:
            takes = nearest(option, known) if known else "; it takes none"
            raise ConfigError(f"policy '{name}' has no option '{option}'{takes}")
    return kind(**options)  # type: ignore[arg-type]  # names are checked above, values by the class itself
