"""Tensor shapes of a model with gears, as the device computes with them."""

from __future__ import annotations

from collections.abc import Sequence


def gear_dims(dims: Sequence[int], gear: int) -> tuple[int, ...]:
    """The shape at one gear.

    Args:
        dims: shape with -1 at the dynamic axis.
        gear: rows; not used when nothing is dynamic.
    """
    return tuple(gear if dim < 0 else dim for dim in dims)
