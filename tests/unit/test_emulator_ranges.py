"""Ranges of addresses against a model that remembers every byte."""

import pytest
from ascend_emulator.ranges import Ranges
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit

BYTES = 200


@given(st.lists(st.tuples(st.booleans(), st.integers(0, BYTES - 1), st.integers(1, 60)), max_size=40))
def test_ranges_are_found_by_any_of_their_addresses(steps: list[tuple[bool, int, int]]) -> None:
    ranges: Ranges[int] = Ranges()
    model: list[int | None] = [None] * (BYTES + 64)
    spans: dict[int, tuple[int, int]] = {}
    for number, (adds, start, size) in enumerate(steps):
        if adds:
            for other in {model[place] for place in range(start, start + size)} - {None}:
                model = [None if held == other else held for held in model]
            model[start : start + size] = [number] * size
            ranges.add(start, size, number)
            spans[number] = (start, start + size)
        else:
            taken = ranges.take(start)
            held = model[start]
            begins = held is not None and spans[held][0] == start
            assert (taken is not None and taken.value == held) if begins else taken is None
            if begins:
                model = [None if other == held else other for other in model]
        for place, held in enumerate(model):
            found = ranges.at(place)
            assert (found.value if found else None) == held
            assert found is None or (found.start, found.end) == spans[found.value]
        covered = all(held is not None for held in model[start : start + size])
        assert ranges.covers(start, size) is covered
        assert ranges.overlaps(start, size) is any(held is not None for held in model[start : start + size])
        one = model[start] is not None and set(model[start : start + size]) == {model[start]}
        assert (ranges.holding(start, size) is not None) is one
    assert [found.start for found in ranges.all()] == sorted(spans[held][0] for held in {*model} - {None})
