"""Handles: the ints by which a program names contexts, streams, events, descriptions and datasets.

On hardware they are addresses. Here they are numbers that look like some, never reused and never 0, so a
stale or foreign handle is recognised instead of corrupting memory.
"""

from __future__ import annotations

from itertools import count
from typing import TypeVar

from ascend_emulator.codes import INVALID_PARAM, Failure

T = TypeVar("T")

_FIRST = 0x5500_0000_0000
_STEP = 64

_numbers = count(_FIRST, _STEP)
_objects: dict[int, object] = {}


def add(thing: object) -> int:
    """A new handle for an object."""
    handle = next(_numbers)
    _objects[handle] = thing
    return handle


def get(handle: int, kind: type[T]) -> T:
    """The object behind a handle.

    Raises:
        Failure: 100000, the handle is 0, gone, or of another kind.
    """
    thing = _objects.get(handle)
    if not isinstance(thing, kind):
        raise Failure(INVALID_PARAM, f"EH0002: {handle:#x} is no live {kind.__name__} handle.")
    return thing


def remove(handle: int, kind: type[T]) -> T:
    """The object behind a handle, which is dead from now on.

    Raises:
        Failure: 100000, as `get`.
    """
    thing = get(handle, kind)
    del _objects[handle]
    return thing


def find(handle: int) -> object:
    """Whatever is behind a handle, or None."""
    return _objects.get(handle)
