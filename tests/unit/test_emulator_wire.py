"""The messages between a client and a card: the moment at which a command was given."""

import time

import pytest
from ascend_emulator import wire
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit

SECOND = 1_000_000_000
LOW = 1 << 32


@given(st.integers(0, 1 << 60), st.integers(0, SECOND - 1))
def test_a_moment_of_the_last_second_is_told_exactly(given_ns: int, way_ns: int) -> None:
    assert wire.moment_of(given_ns % LOW, given_ns + way_ns) == given_ns


@given(st.integers(SECOND, 1 << 60), st.integers(SECOND, LOW - 1))
def test_a_moment_that_cannot_be_right_is_now(now_ns: int, off_ns: int) -> None:
    """One that lies further back, or ahead because the clocks differ."""
    assert wire.moment_of((now_ns - off_ns) % LOW, now_ns) == now_ns


def test_the_moment_now_is_that_of_the_clock_all_processes_share() -> None:
    before_ns = time.monotonic_ns()
    told = wire.moment_now()
    after_ns = time.monotonic_ns()
    assert before_ns <= wire.moment_of(told, after_ns) <= after_ns
    wire.HEADER.pack(wire.Op.RECORD, 0, told)
