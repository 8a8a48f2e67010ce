"""The rate of arrivals that a policy is told."""

from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.batching.rates import RateMeter

pytestmark = pytest.mark.unit


def test_it_is_zero_before_the_first_row():
    assert RateMeter().per_ms(5.0) == 0.0


@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(1, 300)), min_size=1, max_size=60).map(sorted),
    st.floats(0, 5),
    st.floats(0.01, 2),
)
def test_it_is_the_sum_of_all_rows_with_their_decayed_weights(arrivals, later, time_constant_s):
    meter = RateMeter(time_constant_s)
    for at, rows in arrivals:
        meter.arrived(at, rows)
    now = arrivals[-1][0] + later
    weighed = sum(rows * exp((at - now) / time_constant_s) for at, rows in arrivals)
    assert meter.per_ms(now) == pytest.approx(weighed / (time_constant_s * 1e3), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("rate_per_ms", [0.05, 1.0, 8.0])
@pytest.mark.parametrize("rows", [1, 8])
def test_it_settles_at_the_rate_of_a_poisson_stream(rate_per_ms, rows):
    rng = np.random.default_rng(7)
    times = np.cumsum(rng.exponential(rows / rate_per_ms / 1e3, 40_000))
    meter = RateMeter()
    seen = []
    for at in times.tolist():
        meter.arrived(at, rows)
        seen.append(meter.per_ms(at))
    # Right after an arrival its own rows count at full weight; that is seen by an arrival, but not by a clock.
    assert np.mean(seen[len(seen) // 4 :]) - rows / 200 == pytest.approx(rate_per_ms, rel=0.05)


def test_a_change_is_seen_within_three_time_constants():
    meter = RateMeter()
    for step in range(1000):
        meter.arrived(step / 1000, 1)
    for step in range(1200):
        meter.arrived(1 + step / 2000, 1)
    assert meter.per_ms(1.6) == pytest.approx(2.0, rel=0.04)


def test_after_a_long_silence_it_starts_afresh():
    old, new = RateMeter(), RateMeter()
    for step in range(1000):
        old.arrived(step / 1000, 1)
    for meter in (old, new):
        meter.arrived(1e6, 4)
        meter.arrived(1e6 + 0.01, 4)
    assert old.per_ms(1e6 + 0.02) == new.per_ms(1e6 + 0.02) > 0
    assert old.per_ms(2e6) == 0.0


def test_asking_changes_nothing():
    meter = RateMeter()
    meter.arrived(1.0, 3)
    assert [meter.per_ms(1.5) for _ in range(3)] == [meter.per_ms(1.5)] * 3
    assert meter.per_ms(1.1) > meter.per_ms(1.5)


def test_a_clock_that_steps_back_a_little_does_not_grow_the_past():
    meter = RateMeter()
    meter.arrived(2.0, 1)
    meter.arrived(1.999, 1)
    assert meter.per_ms(1.9) == meter.per_ms(2.0) == 2 / 200


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan")])
def test_a_time_constant_is_above_zero(wrong):
    with pytest.raises(ValueError, match="time constant"):
        RateMeter(wrong)
