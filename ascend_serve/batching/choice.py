"""What a policy sees and what it answers: the words that planner and policies have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from ascend_serve.batching.costs import CostTable
from ascend_serve.spec.gears import Gears

WAIT = 0
"""A policy's answer that nothing is to run yet; never a gear, for gears are at least 1."""


class View(NamedTuple):
    """What waits, when the device could take a batch.

    Attributes:
        rows: rows that wait and could run in this bucket, at least 1.
        oldest_ms: how long the oldest of all waiting rows has waited, in milliseconds.
        rate_per_ms: rows that arrive per millisecond, as estimated now.
        bucket: index of the shapes that the next batch has.
        gears: the gears of this bucket that the policy may choose, its own `usable`.
        costs: device time of each compiled gear of this bucket.
    """

    rows: int
    oldest_ms: float
    rate_per_ms: float
    bucket: int
    gears: Gears
    costs: CostTable


class Policy(Protocol):
    """Chooses a gear for what waits."""

    @property
    def patience_ms(self) -> float | None:
        """How long after the oldest row came the policy must be asked again though nothing happened.

        It holds when the policy answered WAIT. None: only events (arrivals, batches that come back) matter.
        """
        ...

    def usable(self, compiled: Gears) -> Gears:
        """The compiled gears that this policy may ever choose.

        Raises:
            ConfigError: the policy was given a gear that is not compiled.
        """
        ...

    def prepared(self, tables: Sequence[CostTable]) -> Policy:
        """The policy with all that it computes beforehand, for one cost table per bucket.

        It may be heavy, is pure, and is called off the request path.
        """
        ...

    def choose(self, view: View) -> int:
        """The gear of `view.gears` to run now, or WAIT."""
        ...


class Closing(NamedTuple):
    """Who may share a batch with its first ticket, whenever the batch is run.

    Attributes:
        rows: the most rows of one batch.
        wait_ms: who was offered later than this after the first ticket is in a later batch.
    """

    rows: int
    wait_ms: float


@runtime_checkable
class ClosingPolicy(Policy, Protocol):
    """A policy whose batches close by themselves, on size or on a timer, also while the device is busy.

    It is asked whenever a slot is free, not only when the device is: to run a closed batch late changes nothing
    about who is in it. It answers WAIT while the batch is open.
    """

    def closing(self, usable: Gears) -> Closing:
        """When a batch closes, given the gears that may be used.

        Raises:
            ConfigError: more rows than the largest gear has.
        """
        ...
