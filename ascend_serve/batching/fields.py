"""What stands in the fields of files that people hand us, traces and journals: checked, and read.

Each function takes a value as JSON has it and raises ValueError, in words, when it is not what it must be.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, TypeVar

T = TypeVar("T")

_MOST = 1 << 63
"""No count is as large: past it, sums with floats would not fit any more."""


def finite(told: Any) -> float:
    """A finite number."""
    if isinstance(told, bool) or not isinstance(told, int | float) or not isfinite(told):
        raise ValueError(f"{told!r} is no finite number")
    return float(told)


def amount(told: Any) -> float:
    """A finite number of at least 0."""
    if finite(told) < 0:
        raise ValueError(f"{told!r} is below 0")
    return float(told)


def count(told: Any) -> int:
    """A whole number of at least 0."""
    return _whole(told, 0)


def positive(told: Any) -> int:
    """A whole number of at least 1."""
    return _whole(told, 1)


def switch(told: Any) -> bool:
    """True or false."""
    if not isinstance(told, bool):
        raise ValueError(f"{told!r} is neither true nor false")
    return told


def word(told: Any) -> str:
    """Text."""
    if not isinstance(told, str):
        raise ValueError(f"{told!r} is no text")
    return told


def buckets(told: Any) -> tuple[int, ...]:
    """Indices of buckets, at least one."""
    found = many(count)(told)
    if not found:
        raise ValueError("it names no bucket")
    return found


def many(read: Callable[[Any], T]) -> Callable[[Any], tuple[T, ...]]:
    """Reads a list of what `read` reads."""

    def read_all(told: Any) -> tuple[T, ...]:
        if not isinstance(told, list | tuple):
            raise ValueError(f"{told!r} is no list")
        return tuple(map(read, told))

    return read_all


def maybe(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """Reads what `read` reads, or nothing."""
    return lambda told: None if told is None else read(told)


def _whole(told: Any, least: int) -> int:
    if isinstance(told, bool) or not isinstance(told, int) or not least <= told < _MOST:
        raise ValueError(f"{told!r} is no whole number of at least {least}")
    return told
