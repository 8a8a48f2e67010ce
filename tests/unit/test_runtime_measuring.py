"""What warm-up makes of the runs it timed."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ascend_serve.batching.refining import CostBook
from ascend_serve.runtime.measuring import (
    LEAST_SLOTS,
    MOST_SLOTS,
    Sampler,
    enough,
    slots_for,
    still_holds,
    timing_of,
)
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages, Timing

pytestmark = pytest.mark.unit

times = st.floats(0, 1e4)


@pytest.mark.parametrize(
    ("stages", "pack", "unpack", "slots"),
    [
        ((0.2, 8.0, 0.0), 0.5, 0.0, 2),  # a big model: one is prepared while one runs
        ((8.0, 8.0, 8.0), 0.0, 0.0, 3),
        ((8.0, 8.0, 8.0), 0.4, 0.4, 4),  # three equal stages and the host
        ((4.0, 8.0, 4.0), 0.4, 0.4, 3),
        ((0.1, 0.1, 0.1), 9.0, 0.1, 2),  # the host is the slowest: more slots bring nothing
        ((5.0, 5.0, 5.0), 5.0, 5.0, 4),
        ((0.0, 0.0, 0.0), 0.0, 0.0, 2),
    ],
)
def test_slots(stages, pack, unpack, slots):
    assert slots_for(Stages(*stages), pack, unpack) == slots


@given(st.tuples(times, times, times), times, times)
def test_slots_keep_the_slowest_step_busy_within_the_bounds(stages, pack, unpack):
    slots = slots_for(Stages(*stages), pack, unpack)
    assert LEAST_SLOTS <= slots <= MOST_SLOTS
    steps = (pack, *stages, unpack)
    if slots < MOST_SLOTS and max(steps) > 0.001:
        assert slots * max(steps) >= sum(steps) * (1 - 1e-9)


def test_one_bad_run_does_not_show_in_the_median_but_many_do_in_the_spread():
    runs = [Stages(1.0, 8.0, 0.5)] * 6 + [Stages(9.0, 80.0, 5.0)]
    assert timing_of(runs) == Timing(Stages(1.0, 8.0, 0.5), 0.0, 7)
    assert timing_of([Stages(0, ms, 0) for ms in (1.0, 2.0, 3.0, 4.0, 5.0)]).spread_ms == 2.0
    assert timing_of([Stages(0, 4.0, 0)]) == Timing(Stages(0, 4.0, 0), 0.0, 1)


def test_a_run_below_the_clocks_tick_still_costs_something():
    assert timing_of([Stages(0, 0.0, 0)]).stages.compute_ms == 0.001


def test_a_gear_is_run_seven_times_or_for_half_a_second():
    assert not enough([Stages(0, 1.0, 0)] * 6)
    assert enough([Stages(0, 1.0, 0)] * 7)
    assert enough([Stages(100.0, 300.0, 100.0)])


@pytest.mark.parametrize(
    ("stages", "holds"),
    [
        ((1.0, 8.0, 1.0), True),
        ((1.0, 8.7, 1.0), True),
        ((1.0, 7.3, 1.0), True),
        ((1.7, 8.0, 0.3), True),  # a copy that moves by less than a tenth of the longest stage
        ((1.0, 8.9, 1.0), False),
        ((1.0, 7.1, 1.0), False),
        ((8.0, 1.0, 1.0), False),  # the same in all, and another bottleneck
    ],
)
def test_what_is_known_holds_while_each_stage_is_within_a_tenth_of_the_longest(stages, holds):
    known = Timing(Stages(1.0, 8.0, 1.0), 0.1, 7)
    assert still_holds(known, Stages(*stages)) is holds


@given(st.tuples(st.floats(0.001, 100), st.floats(0.001, 100), st.floats(0.001, 100)), st.floats(0.5, 2))
def test_what_holds_is_what_the_engine_takes_for_no_drift(known, factor):
    told = Timing(Stages(*known), 0.0, 7)
    run = Stages(known[0], known[1] * factor, known[2])
    book = CostBook([Gears((4,))], {(0, 4): told})
    for _ in range(500):
        book.update(0, 4, run)
    change = abs(run.compute_ms - known[1]) / max(known)
    assume(abs(change - 0.1) > 0.002)
    assert still_holds(told, run) is not book.drifted


def test_each_gear_is_sampled_by_itself():
    sampler = Sampler()
    assert [sampler.wants((0, 8)) for _ in range(17)].count(True) == 6
    assert all(sampler.wants((bucket, 1)) for bucket in range(3))
