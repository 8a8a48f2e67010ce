"""The advisor: how many devices, and which gears."""

import pytest

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.optimal import Optimal
from ascend_serve.batching.policy import Fixed, PadUp
from ascend_serve.errors import ConfigError
from ascend_serve.simulating.advisor import devices_for, fitted, rank_gears
from ascend_serve.simulating.simulation import simulate
from ascend_serve.simulating.traces import Arrival, bursts, poisson
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages, Timing

pytestmark = pytest.mark.unit


def table(ms: dict[int, float]) -> CostTable:
    return CostTable.of(Gears.of(ms), ms)


PICTURES = table({1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0})


def test_the_number_of_devices_is_the_least_that_is_good_enough():
    arrivals = poisson(5000, 2, seed=1)
    found = devices_for([PICTURES], Optimal(), arrivals, slo_ms=15, good=0.99)
    assert found.devices == found.outcome.devices == 3
    assert found.outcome.good(15) >= 0.99
    assert simulate([PICTURES], Optimal(), arrivals, devices=2).good(15) < 0.99


@pytest.mark.parametrize("devices", [1, 2, 3, 5])
def test_it_is_found_from_wherever_the_search_begins(devices):
    # Rows in blocks that keep exactly so many devices busy: with fewer, the second block of each pair is late.
    arrivals = [Arrival(0.1 * block) for block in range(6) for _ in range(16 * devices)]
    found = devices_for([table({16: 8.0})], Fixed(), arrivals, slo_ms=8.5, good=1.0)
    assert found.devices == devices


def test_no_number_is_enough_for_what_one_run_takes_too_long_for():
    found = devices_for([table({4: 30.0})], PadUp(), [Arrival(0.0)], slo_ms=20, good=0.5, most=4)
    assert found.devices is None
    assert found.outcome.devices == 4


@pytest.mark.parametrize(("good", "slo_ms"), [(0, 5), (1.2, 5), (0.9, 0), (0.9, float("inf"))])
def test_shares_and_latencies_are_in_range(good, slo_ms):
    with pytest.raises(ConfigError, match=r"good is|slo_ms is"):
        devices_for([PICTURES], PadUp(), [Arrival(0.0)], slo_ms=slo_ms, good=good)


def test_gears_that_were_not_measured_lie_on_a_line_through_those_that_were():
    gears = Gears((1, 8))
    measured = CostTable.of(gears, {n: Timing(Stages(0.1 * n, 2 + 0.5 * n, 0.0), 0.0, 9) for n in gears})
    fit = fitted(measured, [1, 4, 8, 16])
    assert fit.guessed == (4, 16)
    assert fit.times[4] == pytest.approx((0.4, 4.0, 0.0))
    assert fit.times[16] == pytest.approx((1.6, 10.0, 0.0))
    assert fit.times[8] == (0.8, 6.0, 0.0)
    assert fit.table([16, 1]).ms == pytest.approx((2.5, 10.0))


def test_one_measured_gear_is_scaled():
    assert fitted(table({4: 8.0}), [2, 4, 8]).times[2].compute_ms == pytest.approx(4.0)


def test_a_guess_is_never_below_zero():
    assert fitted(table({8: 1.0, 16: 3.0}), [1, 8, 16]).times[1].compute_ms == 0.0


def test_sets_are_ranked_as_simulation_ranks_them():
    arrivals = poisson(1600, 12, seed=4)
    fit = fitted(PICTURES, [1, 4, 8, 16])
    ranked = rank_gears(fit, arrivals, at_most=2)
    assert len(ranked) == 4 + 6
    fits = [one for one in ranked if not one.overload]
    assert [one.gears.sizes for one in ranked if one.overload][-1] == (1,)
    simulated = {one.gears: simulate([fit.table(one.gears)], Optimal(), arrivals).mean_ms for one in fits}
    assert min(simulated, key=simulated.__getitem__) in [one.gears for one in fits[:2]]
    for one in fits:
        if one.mean_ms < 15:
            assert simulated[one.gears] == pytest.approx(one.mean_ms, rel=0.1)


def test_more_gears_are_never_worse():
    fit = fitted(PICTURES, [1, 2, 4, 8, 16])
    by_size = {one.gears.sizes: one.mean_ms for one in rank_gears(fit, poisson(1200, 5, seed=1), at_most=5)}
    assert by_size[1, 2, 4, 8, 16] <= min(by_size.values()) * (1 + 1e-9)


def test_bursts_are_ranked_by_their_rates_and_not_by_the_mean():
    fit = fitted(PICTURES, [1, 4, 16])
    calm = rank_gears(fit, poisson(700, 6, seed=1), at_most=1)
    changing = rank_gears(fit, bursts(50, 1800, 1.0, 6, seed=1), at_most=1)
    assert next(one for one in calm if one.gears.sizes == (4,)).overload == 0
    assert next(one for one in changing if one.gears.sizes == (4,)).overload > 0.05


@pytest.mark.parametrize(
    ("arrivals", "at_most", "words"),
    [
        ([], 1, "at least two arrivals"),
        ([Arrival(0.0)], 1, "at least two arrivals"),
        ([Arrival(0.0), Arrival(1.0)], 0, "at most 0 gears"),
        ([Arrival(0.0), Arrival(1.0)], 5, "at most 5 gears of 4"),
    ],
)
def test_a_question_without_sense_is_refused(arrivals, at_most, words):
    with pytest.raises(ConfigError, match=words):
        rank_gears(fitted(PICTURES, PICTURES.gears), arrivals, at_most=at_most)


def test_too_many_sets_are_refused():
    with pytest.raises(ConfigError, match="give fewer candidates"):
        rank_gears(fitted(PICTURES, range(1, 40)), poisson(100, 1, seed=1), at_most=4)
