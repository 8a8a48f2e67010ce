"""The gears of a model: the fixed set of shapes it was compiled for (facts/pyacl.md §12, facts/atc_om_soc.md §1.5).

Pure. The numbers of the kinds are GE's `mbatch_dynamic_type`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import prod


class GearKind(IntEnum):
    """What a gear sets."""

    BATCH = 1
    IMAGE_SIZE = 2
    DIMS = 3


@dataclass(frozen=True, slots=True)
class Gears:
    """The gears of one model.

    Attributes:
        kind: what they set.
        values: in the user's order. BATCH: `(n,)`. IMAGE_SIZE: `(h, w)`. DIMS: a number for each -1 over all
            inputs, in the user's input order.
    """

    kind: GearKind
    values: tuple[tuple[int, ...], ...]

    @property
    def largest(self) -> int:
        """Index of the gear with the largest product, the first of equals."""
        return max(range(len(self.values)), key=lambda place: prod(self.values[place]))

    def index(self, value: Sequence[int]) -> int | None:
        """Place of a gear, or None where there is no such gear."""
        wanted = tuple(value)
        return self.values.index(wanted) if wanted in self.values else None


def largest_of(shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The shape with the largest product, the first of equals.

    GE sizes each input and each output so by itself (hicann/ge: `SetMaxShapeToData`,
    `UpdateOutputFromSubgraphsForMultiDims`).
    """
    return tuple(max(shapes, key=prod))


def dims_at(
    dims: Sequence[Sequence[int]], kind: GearKind, value: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """The inputs' dims at one gear.

    Args:
        dims: of the inputs in the user's order, -1 at the dynamic axes.
        kind: what the gear sets.
        value: the gear. BATCH puts its number at every -1; IMAGE_SIZE puts h and w at each input's two, in the
            order of its axes; DIMS puts its numbers one after another over all inputs.

    Raises:
        ValueError: the numbers are not as many as the -1s take.
    """
    found, left = [], list(value)
    if kind is GearKind.BATCH and len(left) != 1:
        raise ValueError(f"a batch gear is one number, this one is {left}")
    for shape in dims:
        holes = sum(dim < 0 for dim in shape)
        if kind is GearKind.BATCH:
            numbers = iter(left * holes)
        elif kind is GearKind.IMAGE_SIZE:
            if holes not in (0, len(left)):
                raise ValueError(f"image size {left} does not fit the {holes} -1 of {list(shape)}")
            numbers = iter(left)
        else:
            if holes > len(left):
                raise ValueError(
                    f"gear {list(value)} has too few numbers for {[list(each) for each in dims]}"
                )
            numbers, left = iter(left[:holes]), left[holes:]
        found.append(tuple(next(numbers) if dim < 0 else dim for dim in shape))
    if kind is GearKind.DIMS and left:
        raise ValueError(
            f"gear {list(value)} has {len(left)} numbers more than {[list(each) for each in dims]}"
        )
    return tuple(found)
