"""The allocator against a model that remembers every byte."""

from itertools import pairwise

import pytest
from ascend_emulator.allocator import ALIGNMENT, Allocator
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit

SIZE = 64 * ALIGNMENT


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20 * ALIGNMENT)), max_size=60))
def test_blocks_never_overlap_and_every_byte_comes_back(steps: list[tuple[bool, int]]) -> None:
    allocator = Allocator(SIZE)
    live: dict[int, int] = {}
    for take, number in steps:
        if take and number:
            offset = allocator.allocate(number)
            room = -(-number // ALIGNMENT) * ALIGNMENT
            if offset is None:
                gaps = _gaps(live)
                assert all(end - start < room for start, end in gaps)
                continue
            assert offset % ALIGNMENT == 0
            assert all(offset + room <= start or start + size <= offset for start, size in live.items())
            live[offset] = room
            assert allocator.size_of(offset) == room
        elif live:
            offset = sorted(live)[number % len(live)]
            del live[offset]
            assert allocator.free(offset) in _gaps(live)
        assert allocator.used == sum(live.values())
    for offset in list(live):
        allocator.free(offset)
    assert allocator.allocate(SIZE) == 0


@given(st.lists(st.tuples(st.integers(1, 8 * ALIGNMENT), st.sampled_from((1, 2, 8))), max_size=20))
def test_blocks_are_aligned_as_asked_and_no_byte_is_lost(wanted: list[tuple[int, int]]) -> None:
    allocator = Allocator(SIZE)
    live: dict[int, int] = {}
    for size, lines in wanted:
        offset = allocator.allocate(size, lines * ALIGNMENT)
        if offset is not None:
            assert offset % (lines * ALIGNMENT) == 0
            live[offset] = allocator.size_of(offset)
            assert allocator.find(offset + 1, 1) == offset
    edges = sorted((start, start + size) for start, size in live.items())
    assert all(end <= start for (_, end), (start, _) in pairwise(edges))
    for offset in live:
        allocator.free(offset)
    assert allocator.allocate(SIZE) == 0


def _gaps(live: dict[int, int]) -> list[tuple[int, int]]:
    edges = [0, *(edge for start in sorted(live) for edge in (start, start + live[start])), SIZE]
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end > start]


def test_only_the_start_of_a_live_block_is_freed() -> None:
    allocator = Allocator(SIZE)
    offset = allocator.allocate(200)
    assert offset is not None
    for wrong in (offset + ALIGNMENT, SIZE, -ALIGNMENT):
        with pytest.raises(KeyError):
            allocator.free(wrong)
    allocator.free(offset)
    with pytest.raises(KeyError):
        allocator.free(offset)


def test_a_range_is_held_by_one_block_only() -> None:
    allocator = Allocator(SIZE)
    first, second = allocator.allocate(ALIGNMENT), allocator.allocate(ALIGNMENT)
    assert (first, second) == (0, ALIGNMENT)
    assert allocator.holds(0, ALIGNMENT)
    assert allocator.holds(ALIGNMENT // 2, ALIGNMENT // 2)
    assert not allocator.holds(ALIGNMENT // 2, ALIGNMENT)
    assert not allocator.holds(-1, 1)
    assert not allocator.holds(2 * ALIGNMENT, 1)
    allocator.free(0)
    assert not allocator.holds(0, 1)
    assert allocator.holds(ALIGNMENT, 1)
