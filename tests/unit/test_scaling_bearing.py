"""What a replica bears within an SLO."""

import numpy as np
import pytest

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.optimal import Optimal
from ascend_serve.batching.policy import Fixed, FixedWait, PadUp
from ascend_serve.errors import ConfigError
from ascend_serve.scaling.bearing import TOP_LOAD, Service, bears_per_s, clears_per_s
from ascend_serve.simulating.simulation import Settings, simulate
from ascend_serve.simulating.traces import poisson
from ascend_serve.spec.gears import Gears

pytestmark = pytest.mark.unit

MS = {1: 14.0, 2: 20.0, 4: 34.0, 8: 62.0}


def table(ms=MS):
    return CostTable.of(Gears.of(ms), ms)


def test_late_rows_are_those_of_a_queue_by_hand():
    # One row at a time, 10 ms each; three at once are answered after 10, 20 and 30 ms, and one later after 10 ms.
    service = Service((1, 1), (0.010, 0.010), (0.010, 0.010))
    assert service.late([0.0, 0.0, 0.0, 1.0], 0.025) == 1
    assert service.late([0.0, 0.0, 0.0, 1.0], 0.015) == 2
    assert service.late([0.0, 0.0, 0.0, 1.0], 0.005) == 4


def test_a_batch_takes_all_that_wait_up_to_its_gear():
    # While the first runs alone three more come; they run together, and are answered at 20 ms.
    service = Service((1, 1, 4, 4), (0.010,) * 4, (0.010,) * 4)
    arrivals = [0.0, 0.001, 0.002, 0.003]
    assert service.late(arrivals, 0.0195) == 0
    assert service.late(arrivals, 0.0185) == 1


@pytest.mark.parametrize("slo_ms", [80.0, 200.0])
def test_what_it_bears_the_planner_bears_too_and_not_much_more(slo_ms):
    bears = bears_per_s([table()], Optimal(), slo_ms=slo_ms)
    settings = Settings(slots=1)
    within = simulate([table()], Optimal(), poisson(0.97 * bears, 120, seed=5), settings=settings)
    beyond = simulate([table()], Optimal(), poisson(min(1.25 * bears, 150), 120, seed=5), settings=settings)
    assert within.good(slo_ms) >= 0.98
    assert beyond.good(slo_ms) < 0.99


def test_it_bears_more_the_later_it_may_answer_up_to_what_it_clears():
    rates = [bears_per_s([table()], PadUp(), slo_ms=slo_ms) for slo_ms in (30.0, 60.0, 120.0, 1000.0)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(TOP_LOAD * clears_per_s([table()]), rel=0.01)


def test_an_slo_shorter_than_a_run_is_borne_by_nobody():
    assert bears_per_s([table()], PadUp(), slo_ms=13.0) == 0.0


def test_buckets_share_the_time():
    fast, slow = table({1: 1.0}), table({1: 3.0})
    assert clears_per_s([fast, slow]) == pytest.approx(500.0)
    both = bears_per_s([fast, slow], Fixed(), slo_ms=1e3)
    assert both == pytest.approx(TOP_LOAD * 500.0, rel=0.01)


def test_a_policy_that_waits_has_so_much_less_time():
    waiting = bears_per_s([table()], FixedWait(wait_ms=40.0), slo_ms=100.0)
    assert waiting < bears_per_s([table()], PadUp(), slo_ms=100.0)


@pytest.mark.parametrize("slo_ms", [0.0, -1.0, float("inf"), float("nan")])
def test_the_slo_is_a_time(slo_ms):
    with pytest.raises(ConfigError, match="slo_ms is"):
        bears_per_s([table()], PadUp(), slo_ms=slo_ms)


@pytest.mark.parametrize("good", [0.0, 1.0, 1.5])
def test_a_share_is_a_share(good):
    with pytest.raises(ConfigError, match="good is"):
        bears_per_s([table()], PadUp(), slo_ms=100.0, good=good)


def test_the_same_seed_gives_the_same_rate():
    assert bears_per_s([table()], Optimal(), slo_ms=100.0) == bears_per_s([table()], Optimal(), slo_ms=100.0)
    assert np.isfinite(bears_per_s([table()], Optimal(), slo_ms=100.0, seed=2))
