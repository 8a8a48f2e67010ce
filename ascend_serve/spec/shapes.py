"""Shapes as a recipe gives them: fixed dims, -1 where a gear or the caller decides, `1~4` for a range."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, StrictInt

OPEN = -1
"""Stands where a gear decides, or the caller in a model with open shapes."""

_RANGE = re.compile(r"(?P<least>\d+)~(?P<most>\d+|-1)")

Dim = Annotated[StrictInt, Field(ge=-1)] | Annotated[str, Field(pattern=r"^\d+~(\d+|-1)$")]
Shape = tuple[Dim, ...]
Shapes = Mapping[str, Shape]


def is_open(dim: int | str) -> bool:
    """Whether a dim is not fixed: -1, or a range."""
    return dim == OPEN or isinstance(dim, str)


def is_range(dim: int | str) -> bool:
    """Whether a dim is a range such as `1~4`."""
    return isinstance(dim, str)


def bounds(dim: int | str) -> tuple[int, int]:
    """Least and greatest size of a dim; -1 as the greatest: unbounded."""
    if isinstance(dim, int):
        return (1, OPEN) if dim == OPEN else (dim, dim)
    match = _RANGE.fullmatch(dim)
    assert match is not None, "Dim lets no other text through"
    return int(match["least"]), int(match["most"])


def fill(shapes: Shapes, sizes: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The shapes with their -1 replaced, in order, as ATC's `--dynamic_dims` counts them.

    Args:
        shapes: without ranges; as many -1 in all as there are sizes.
        sizes: one for each -1, over all inputs in their order.
    """
    left = iter(sizes)
    return {
        name: tuple(next(left) if dim == OPEN else int(dim) for dim in shape)
        for name, shape in shapes.items()
    }
