"""The ways bytes travel."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """One way bytes travel: nanoseconds = fixed + bytes x per byte.

    Attributes:
        fixed_ns: what a copy of any size takes.
        ns_per_byte: what each byte adds.
    """

    fixed_ns: int
    ns_per_byte: float

    def duration_ns(self, size: int) -> int:
        """Nanoseconds that `size` bytes take."""
        return self.fixed_ns + int(size * self.ns_per_byte)

    @classmethod
    def of(cls, fixed_us: float, gb_per_s: float) -> Link:
        """The link with that latency and bandwidth.

        Args:
            fixed_us: microseconds, 0 or more.
            gb_per_s: 10^9 bytes per second, above 0.

        Raises:
            ValueError: a number outside its range.
        """
        if not 0 <= fixed_us < float("inf"):
            raise ValueError(f"fixed_us is {fixed_us}: it must be 0 or more")
        if not 0 < gb_per_s < float("inf"):
            raise ValueError(f"gb_per_s is {gb_per_s}: it must be above 0")
        return cls(int(fixed_us * 1e3), 1 / gb_per_s)
