"""How fast rows come and will come, read off counts."""

import random

import pytest

from ascend_serve.scaling.demand import Demand

pytestmark = pytest.mark.unit


def fed(rate_at, seconds, *, seed=1, every_s=0.4, demand=None):
    """A history of Poisson counts, told every so often."""
    chance = random.Random(seed)
    demand = demand or Demand()
    at, counted = 0.0, 0
    arrives = chance.expovariate(rate_at(0.0))
    while at < seconds:
        until = at + every_s
        counted = 0
        while arrives < until:
            counted += 1
            arrives += chance.expovariate(rate_at(arrives))
        demand.came(at, until, counted)
        demand.told_until(until)
        at = until
    return demand


def test_nothing_is_expected_of_nothing():
    assert Demand().expect(10.0) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_a_steady_rate_is_known_well_and_not_extrapolated(seed):
    demand = fed(lambda _: 200.0, 40.0, seed=seed)
    assert demand.expect(0.0) == pytest.approx(200.0, rel=0.08)
    assert demand.expect(20.0) == pytest.approx(200.0, rel=0.12)


@pytest.mark.parametrize("seed", range(5))
def test_a_ramp_is_foreseen(seed):
    demand = fed(lambda at: 100.0 + 10.0 * at, 40.0, seed=seed)
    assert demand.expect(10.0) == pytest.approx(600.0, rel=0.08)


@pytest.mark.parametrize("seed", range(5))
def test_a_falling_rate_is_followed_and_not_foreseen(seed):
    demand = fed(lambda at: max(1.0, 500.0 - 10.0 * at), 40.0, seed=seed)
    assert demand.expect(0.0) == pytest.approx(100.0, abs=30.0)
    assert demand.expect(60.0) == demand.expect(0.0)


@pytest.mark.parametrize("seed", range(5))
def test_a_step_is_seen_within_a_second_without_a_slope(seed):
    demand = fed(lambda at: 60.0 if at < 30 else 600.0, 31.2, seed=seed)
    assert demand.expect(0.0) == pytest.approx(600.0, rel=0.15)
    assert demand.expect(30.0) == pytest.approx(demand.expect(0.0), rel=0.25)


def test_to_be_sure_is_to_expect_more():
    demand = fed(lambda _: 50.0, 20.0)
    assert demand.expect(0.0, sure=3.0) > demand.expect(0.0)


def test_what_was_counted_twice_is_taken_back():
    demand = Demand()
    demand.came(0.0, 2.0, 100)
    demand.came(0.0, 2.0, 40)
    demand.came(0.0, 2.0, -40)
    demand.told_until(2.0)
    assert demand.expect(0.0) == pytest.approx(50.0)


def test_only_what_all_have_told_of_counts():
    demand = Demand()
    demand.came(0.0, 4.0, 400)
    demand.came(4.0, 5.0, 5)  # one replica of several
    demand.told_until(4.0)
    assert demand.expect(0.0) == pytest.approx(100.0)


def test_it_forgets():
    demand = fed(lambda _: 500.0, 5.0)
    demand.told_until(200.0)
    assert demand.expect(10.0) == 0.0
