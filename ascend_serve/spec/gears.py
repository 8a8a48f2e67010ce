"""Gears: the dynamic sizes a model was compiled for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ascend_serve.errors import ConfigError

MOST_GEARS = 100
"""ATC's portable limit on `--dynamic_batch_size` (facts: hard up to graphengine r1.8, documented since)."""


@dataclass(frozen=True, slots=True)
class Gears:
    """Batch sizes a model can run at, ascending and without duplicates.

    Raises:
        ConfigError: no gear, a gear below 1, a duplicate, or more than 100.
    """

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        given = list(self.sizes)
        if not given:
            raise ConfigError("gears is empty: give at least one batch size, such as [1, 4, 8]")
        if bad := [size for size in given if isinstance(size, bool) or not isinstance(size, int) or size < 1]:
            raise ConfigError(f"gears {given}: {bad[0]!r} is not a whole number of at least 1")
        if len(set(given)) != len(given):
            raise ConfigError(f"gears {given}: each size may stand once")
        if len(given) > MOST_GEARS:
            raise ConfigError(f"{len(given)} gears: ATC takes at most {MOST_GEARS}")
        object.__setattr__(self, "sizes", tuple(sorted(given)))

    @classmethod
    def of(cls, sizes: Iterable[int]) -> Gears:
        """Gears from any iterable of ints."""
        return cls(tuple(sizes))

    @property
    def largest(self) -> int:
        """Rows of the largest gear: what buffers are sized for."""
        return self.sizes[-1]

    def cover(self, rows: int) -> int:
        """The smallest gear with room for `rows`; the largest one if none has."""
        return self.sizes[min(bisect_left(self.sizes, rows), len(self.sizes) - 1)]

    def __iter__(self) -> Iterator[int]:
        return iter(self.sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    def __contains__(self, size: object) -> bool:
        return size in self.sizes
