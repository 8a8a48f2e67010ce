"""Fair device time among the models of one lane.

At most so many batches are at the lane at once, over all of its models, and whoever has used the least device time for
its weight goes next. That is start-time fair queueing: each model carries a *virtual time*, which grows with each of
its batches by device time over weight, and the share's own stands at the start of the batch that was started last. A
model that comes back from a pause starts at the share's time, so that it goes next, but has saved up no credit for the
time in which it asked for nothing.

Two models that always want the device get device time in proportion to their weights, within one batch of each.

A model whose turn it is starts its batch although others still run, for it knows nothing of theirs: were it to wait
until the device is free, one that always has a full batch ready would never let it in.

What each planner foretells is of its own batches too: whether a deadline can be met is asked as if the device were
free of the others' work. What theirs make late is accepted, and expires at its deadline if it waits until then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from operator import attrgetter

from ascend_serve.errors import ConfigError

_USED_MS = attrgetter("used_ms")

Turn = Callable[[], float | None]
"""Starts a model's next batch if there is one to start now: its expected device milliseconds, or None."""


@dataclass(slots=True, eq=False)
class Member:
    """One model of a share.

    Attributes:
        turn: asked when the device could take a batch of it.
        weight: its part of the device, relative to the others'.
        used_ms: its virtual time: at which of the share's milliseconds its next batch would start.
    """

    turn: Turn
    weight: float
    used_ms: float


class Share:
    """Who may start a batch, and when. All its members live on one thread.

    Args:
        in_flight: the most batches that may be at the lane at once, over all models.

    Attributes:
        last_landing: seconds of the models' clock at which a batch of any of them came back last.

    Raises:
        ConfigError: fewer than one in flight.
    """

    def __init__(self, in_flight: int) -> None:
        if in_flight < 1:
            raise ConfigError(
                f"in_flight is {in_flight}; at least 1 is needed, and 2 let copies overlap runs"
            )
        self._in_flight = in_flight
        self._members: list[Member] = []
        self._running = 0
        self._time_ms = 0.0
        self._trials: deque[Callable[[], None]] = deque()
        self.last_landing = float("-inf")

    @property
    def running_batches(self) -> int:
        """Batches of all models that are at the lane."""
        return self._running

    @property
    def full(self) -> bool:
        """Whether nobody may start a batch until one comes back."""
        return self._running >= self._in_flight

    def join(self, turn: Turn, weight: float = 1.0) -> Member:
        """Let one more model use the device.

        Args:
            turn: see `Member`.
            weight: with weights 2 and 1, the first gets two thirds of a device that both always want.

        Raises:
            ConfigError: a weight that is not above 0 and finite.
        """
        if not (isfinite(weight) and weight > 0):
            raise ConfigError(f"the weight of a model is {weight}; it must be finite and above 0")
        member = Member(turn, weight, self._time_ms)
        self._members.append(member)
        return member

    def dispatch(self) -> None:
        """Start all that may start now: call it when a model has something new to run, or a batch came back."""
        while not self.full:
            if not self._start_next():
                return

    def landed(self, member: Member, expected_ms: float, measured_ms: float | None = None) -> None:
        """Note that a batch came back, well or not; `dispatch` is to follow.

        Args:
            member: whose it was.
            expected_ms: what its turn had answered.
            measured_ms: device milliseconds it took in truth, if that was measured; they replace what was expected.
        """
        self._running -= 1
        if measured_ms is not None:
            member.used_ms += (measured_ms - expected_ms) / member.weight

    def trial(self, start: Callable[[], None]) -> None:
        """Have a part of a failed batch run while no other such part does: now, or after those that asked before.

        Args:
            start: called once, when it may run; `tried` is to follow, even if it has nothing to run any more.
        """
        self._trials.append(start)
        if len(self._trials) == 1:
            start()

    def tried(self) -> None:
        """Note that the part whose turn it was is back, well or not: the next one may run."""
        self._trials.popleft()
        if self._trials:
            self._trials[0]()

    def _start_next(self) -> bool:
        """Give the turn to one member after the other, until one takes it."""
        members = self._members
        members.sort(key=_USED_MS)
        for member in members:
            expected_ms = member.turn()
            if expected_ms is not None:
                # What was not used while it asked for nothing is gone.
                self._time_ms = max(self._time_ms, member.used_ms)
                member.used_ms = self._time_ms + expected_ms / member.weight
                # Of equals, the one goes next whose last turn is longest ago: the sort keeps their order.
                members.remove(member)
                members.append(member)
                self._running += 1
                return True
        if not self._running:
            # Nobody wants anything: what was used so far is forgotten, or it would weigh on the next busy time.
            self._time_ms = members[-1].used_ms
        return False
