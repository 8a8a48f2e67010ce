from __future__ import annotations

from math import prod

import pytest
from ascend_emulator.gears import GearKind, Gears, dims_at
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit

shapes = st.lists(st.lists(st.integers(-1, 9), max_size=4).map(tuple), min_size=1, max_size=4)


def test_the_kinds_are_numbered_as_in_the_file() -> None:
    assert [(kind.name, int(kind)) for kind in GearKind] == [("BATCH", 1), ("IMAGE_SIZE", 2), ("DIMS", 3)]


def test_a_batch_gear_stands_at_every_open_axis() -> None:
    assert dims_at([(-1, 3), (), (5, -1, -1)], GearKind.BATCH, (8,)) == ((8, 3), (), (5, 8, 8))


def test_an_image_size_stands_in_the_order_of_the_axes() -> None:
    found = dims_at([(1, 3, -1, -1), (2,), (1, -1, -1, 3)], GearKind.IMAGE_SIZE, (32, 64))
    assert found == ((1, 3, 32, 64), (2,), (1, 32, 64, 3))


def test_the_documented_example_of_dims_gears() -> None:
    # facts/pyacl.md §12.2: data(1,1,40,-1), label(1,-1), mask(-1,-1) at 20,20,1,1
    found = dims_at([(1, 1, 40, -1), (1, -1), (-1, -1)], GearKind.DIMS, (20, 20, 1, 1))
    assert found == ((1, 1, 40, 20), (1, 20), (1, 1))


@given(shapes, st.data())
def test_dims_gears_use_each_number_once_and_leave_the_rest(
    dims: list[tuple[int, ...]], data: st.DataObject
) -> None:
    holes = sum(dim < 0 for shape in dims for dim in shape)
    value = data.draw(st.lists(st.integers(10, 99), min_size=holes, max_size=holes))
    found = dims_at(dims, GearKind.DIMS, value)
    pairs = [
        (before, after)
        for shape, made in zip(dims, found, strict=True)
        for before, after in zip(shape, made, strict=True)
    ]
    assert [after for before, after in pairs if before < 0] == value
    assert all(before == after for before, after in pairs if before >= 0)


@pytest.mark.parametrize(
    ("dims", "kind", "value"),
    [
        ([(-1, 3)], GearKind.BATCH, (1, 2)),
        ([(-1, 3)], GearKind.IMAGE_SIZE, (1, 2)),
        ([(-1, -1, -1)], GearKind.IMAGE_SIZE, (1, 2)),
        ([(-1, -1)], GearKind.DIMS, (1,)),
        ([(-1, 3)], GearKind.DIMS, (1, 2)),
    ],
)
def test_numbers_that_are_not_as_many_as_the_axes_are_refused(
    dims: list[tuple[int, ...]], kind: GearKind, value: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"gear|image size"):
        dims_at(dims, kind, value)


def test_the_largest_is_the_first_with_the_largest_product() -> None:
    assert Gears(GearKind.IMAGE_SIZE, ((2, 8), (4, 6), (6, 4), (1, 9))).largest == 1


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(1, 99)), min_size=1, unique=True))
def test_every_gear_is_found_at_its_place(values: list[tuple[int, int]]) -> None:
    gears = Gears(GearKind.IMAGE_SIZE, tuple(values))
    assert [gears.index(list(value)) for value in values] == list(range(len(values)))
    assert gears.index((100, 1)) is None
    assert gears.index(()) is None
    assert max(map(prod, values)) == prod(values[gears.largest])
