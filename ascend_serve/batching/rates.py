"""How fast rows come, from when they came: what a policy is told of the load.

Arrivals are counted, never completions: when a device falls behind, what it finishes says nothing about what comes
(facts: batching policy §5).
"""

from __future__ import annotations

from math import exp

TIME_CONSTANT_S = 0.2
"""How fast the past is forgotten; 200 ms was enough in simulation (facts: batching policy §3)."""


class RateMeter:
    """Rows a millisecond, with an exponentially decaying memory.

    The count holds each arrived row at weight exp(-age / time constant). For a steady stream it settles at rate x
    time constant, so the quotient is the rate; it needs about three time constants to get there from nothing. The
    decay is applied for the exact time between two events, so it makes no difference how irregular they are.

    Args:
        time_constant_s: the age, in seconds, at which a row counts 1/e.

    Raises:
        ValueError: a time constant that is not above 0.
    """

    __slots__ = ("_at", "_count", "_decay_per_s", "_span_ms")

    def __init__(self, time_constant_s: float = TIME_CONSTANT_S) -> None:
        if not time_constant_s > 0:
            raise ValueError(f"a time constant of {time_constant_s} s; it must be above 0")
        self._decay_per_s = -1.0 / time_constant_s
        self._span_ms = time_constant_s * 1e3
        self._count = 0.0
        self._at = 0.0

    def arrived(self, now: float, rows: int) -> None:
        """Note that `rows` rows came at `now`, in seconds; O(1).

        A time before that of an earlier call counts as that call's: clocks of two threads may differ by a little.
        """
        past = now - self._at
        if past > 0:
            self._count *= exp(self._decay_per_s * past)
            self._at = now
        self._count += rows

    def per_ms(self, now: float) -> float:
        """Rows a millisecond as of `now`, in seconds; 0 before the first row, and fading while none comes."""
        past = now - self._at
        if past > 0:
            return self._count * exp(self._decay_per_s * past) / self._span_ms
        return self._count / self._span_ms
