"""Ranges of addresses and what is known of each: pure bookkeeping, no memory is touched."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, TypeVar

T = TypeVar("T")

_START = attrgetter("start")


@dataclass(frozen=True)
class Range(Generic[T]):
    """Addresses [start, end) and what is known of them."""

    start: int
    end: int
    value: T


class Ranges(Generic[T]):
    """Ranges that do not overlap, found by any address in them. Any thread may ask and change at any time.

    A change makes a new list and puts it in place of the old one in one step, so that a question asked
    meanwhile sees the old or the new one. It looks again whether the old one is still there, since a `__del__`
    may run in between, in the same thread, and change the ranges too.
    """

    def __init__(self) -> None:
        self._ranges: list[Range[T]] = []
        self._lock = threading.RLock()

    def add(self, start: int, size: int, value: T) -> None:
        """Add a range; older ones that it overlaps are of memory that has gone, and are forgotten.

        Args:
            start: its first address.
            size: its bytes, at least 1.
            value: what is known of it.
        """
        added = Range(start, start + size, value)

        def changed(old: list[Range[T]]) -> list[Range[T]]:
            first = bisect_left(old, start, key=_START)
            if first and old[first - 1].end > start:
                first -= 1
            return [*old[:first], added, *old[bisect_left(old, added.end, key=_START) :]]

        self._change(changed)

    def take(self, start: int) -> Range[T] | None:
        """Remove and return the range that starts exactly there; None when none does."""
        found = self.at(start)
        if found is None or found.start != start:
            return None

        def changed(old: list[Range[T]]) -> list[Range[T]]:
            index = bisect_left(old, start, key=_START)
            return old[:index] + old[index + 1 :]

        self._change(changed)
        return found

    @property
    def state(self) -> object:
        """Another object after each change, the same one until then."""
        return self._ranges

    def at(self, address: int) -> Range[T] | None:
        """The range that an address lies in, or None."""
        ranges = self._ranges
        index = bisect_right(ranges, address, key=_START) - 1
        return ranges[index] if index >= 0 and address < ranges[index].end else None

    def holding(self, address: int, size: int) -> Range[T] | None:
        """The one range that all of [address, address + size) lies in, or None."""
        found = self.at(address)
        return found if found is not None and address + size <= found.end else None

    def overlaps(self, start: int, size: int) -> bool:
        """Whether a byte of [start, start + size) lies in any range."""
        ranges = self._ranges
        index = bisect_right(ranges, start + size - 1, key=_START) - 1
        return index >= 0 and ranges[index].end > start

    def covers(self, start: int, size: int) -> bool:
        """Whether every byte of [start, start + size) lies in some range."""
        end = start + size
        while start < end:
            found = self.at(start)
            if found is None:
                return False
            start = found.end
        return True

    def all(self) -> list[Range[T]]:
        """Every range, by ascending addresses."""
        return list(self._ranges)

    def _change(self, changed: Callable[[list[Range[T]]], list[Range[T]]]) -> None:
        with self._lock:
            while True:
                old = self._ranges
                new = changed(old)
                if self._ranges is old:
                    self._ranges = new
                    return
