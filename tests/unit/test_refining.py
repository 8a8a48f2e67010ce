"""Live costs: what moves them, what does not, and when decisions are out of date."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.batching.refining import DRIFT, HOST_RUNS, REACH, WEIGHT, CostBook
from ascend_serve.errors import ConfigError
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages, Timing

pytestmark = pytest.mark.unit

GEARS = Gears((1, 8))
MEASURED = {
    (0, 1): Timing(Stages(0.02, 1.3, 0.01), 0.05, 9),
    (0, 8): Timing(Stages(0.20, 4.4, 0.05), 0.10, 9),
}

ms = st.floats(0.01, 1000.0)


def book() -> CostBook:
    return CostBook([GEARS], MEASURED)


def compute_of(costs: CostBook, gear: int) -> float:
    return costs.times()[0, gear].stages.compute_ms


def test_a_new_book_tells_what_was_measured() -> None:
    costs = book()
    assert costs.times() == MEASURED
    [table] = costs.tables()
    assert (table.gears, table.ms) == (GEARS, (1.3, 4.4))
    assert (table.copy_in_ms, table.copy_out_ms) == ((0.02, 0.20), (0.01, 0.05))
    assert not costs.drifted


def test_each_bucket_has_its_own_table() -> None:
    small, large = Gears((1, 4)), Gears((2,))
    times = {
        (0, 1): Timing(Stages(0.0, 1.0, 0.0), 0.0, 1),
        (0, 4): Timing(Stages(0.0, 2.0, 0.0), 0.0, 1),
        (1, 2): Timing(Stages(0.0, 5.0, 0.0), 0.0, 1),
    }
    costs = CostBook([small, large], times)
    costs.update(1, 2, Stages(0.0, 6.0, 0.0))
    first, second = costs.tables()
    assert (first.gears, first.ms) == (small, (1.0, 2.0))
    assert second.gears == large
    assert second.ms == pytest.approx((5.0 + WEIGHT,))


@given(before=ms, after=ms)
def test_the_mean_comes_to_what_the_runs_take(before: float, after: float) -> None:
    costs = CostBook([Gears((4,))], {(0, 4): Timing(Stages(0.0, before, 0.0), 0.0, 9)})
    # Each run brings it nearer by at least a step of WEIGHT * REACH of itself; then by WEIGHT of what is left.
    far = abs(math.log(after / before)) / -math.log(1 - WEIGHT * REACH)
    for _ in range(int(far) + 120):
        costs.update(0, 4, Stages(0.0, after, 0.0))
    assert compute_of(costs, 4) == pytest.approx(after, rel=0.01)


@given(st.floats(5.0, 20.0), st.integers(0, 2**32))
def test_noise_is_averaged(true_ms: float, seed: int) -> None:
    randomness = random.Random(seed)
    costs = CostBook([Gears((4,))], {(0, 4): Timing(Stages(0.0, true_ms, 0.0), 0.0, 9)})
    for _ in range(100):
        costs.update(0, 4, Stages(0.0, true_ms * randomness.uniform(0.85, 1.15), 0.0))
    assert compute_of(costs, 4) == pytest.approx(true_ms, rel=0.10)


@given(times=st.floats(1.6, 1e9), stage=st.integers(0, 2))
def test_one_outlier_moves_a_mean_by_at_most_a_bounded_step(times: float, stage: int) -> None:
    costs = book()
    outlier = list(MEASURED[0, 8].stages)
    outlier[stage] *= times
    costs.update(0, 8, Stages(*outlier))
    before, after = MEASURED[0, 8].stages[stage], costs.times()[0, 8].stages[stage]
    assert before < after <= before * (1 + WEIGHT * REACH) + 1e-4
    assert not costs.drifted


def test_a_hiccup_in_every_fiftieth_run_is_no_drift() -> None:
    costs = book()
    for run in range(1000):
        costs.update(0, 8, Stages(0.20, 440.0 if run % 50 == 0 else 4.4, 0.05))
        assert not costs.drifted
    assert compute_of(costs, 8) == pytest.approx(4.4, rel=0.04)


@pytest.mark.parametrize(("factor", "within"), [(2.0, 4), (0.5, 4), (1.3, 8), (1.15, 20), (0.85, 20)])
def test_a_lasting_change_is_noticed_within_a_few_batches(factor: float, within: int) -> None:
    costs = book()
    runs = 0
    while not costs.drifted:
        costs.update(0, 8, Stages(0.20, 4.4 * factor, 0.05))
        runs += 1
        assert runs <= within
    [table] = costs.tables()
    assert abs(table.ms_of(8) / 4.4 - 1) > DRIFT
    assert not costs.drifted, "drift counts from the tables that were handed out last"


def test_a_change_below_the_limit_is_never_drift() -> None:
    costs = book()
    for _ in range(500):
        costs.update(0, 8, Stages(0.20, 4.4 * 1.09, 0.05))
    assert not costs.drifted


def test_a_gear_that_comes_back_has_not_drifted() -> None:
    costs = book()
    for _ in range(6):
        costs.update(0, 8, Stages(0.20, 8.8, 0.05))
    assert costs.drifted
    for _ in range(100):
        costs.update(0, 8, Stages(0.20, 4.4, 0.05))
    assert not costs.drifted


def test_a_short_stage_is_weighed_by_the_longest() -> None:
    costs = book()
    for _ in range(200):
        costs.update(0, 8, Stages(0.40, 4.4, 0.05))
    assert not costs.drifted, "twice the copy is 5 % of the run"
    for _ in range(200):
        costs.update(0, 8, Stages(1.2, 4.4, 0.05))
    assert costs.drifted


def test_a_copy_that_took_no_time_at_warm_up_may_take_some_later() -> None:
    costs = CostBook([Gears((1,))], {(0, 1): Timing(Stages(0.0, 1.0, 0.0), 0.0, 1)})
    for _ in range(400):
        costs.update(0, 1, Stages(0.5, 1.0, 0.0))
    assert costs.times()[0, 1].stages.copy_in_ms == pytest.approx(0.5, rel=0.05)


def test_runs_are_counted_and_the_spread_stays() -> None:
    costs = book()
    for _ in range(3):
        costs.update(0, 1, Stages(0.02, 1.4, 0.01))
    told = costs.times()
    assert (told[0, 1].runs, told[0, 1].spread_ms) == (12, 0.05)
    assert told[0, 8] == MEASURED[0, 8]


def test_what_was_never_measured_stays_neutral() -> None:
    costs = CostBook([GEARS, Gears((2,))], {})
    costs.update(0, 1, Stages(0.1, 77.0, 0.1))
    assert costs.times() == {}
    assert not costs.drifted
    assert [table.ms for table in costs.tables()] == [(1.0, 1.0), (1.0,)]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ({(0, 1): MEASURED[0, 1]}, r"costs are given for gears \[1\]"),
        (MEASURED | {(0, 4): MEASURED[0, 8]}, r"costs are given for gears \[1, 4, 8\]"),
        (MEASURED | {(2, 1): MEASURED[0, 1]}, "times are given for bucket 2 of a model with 1"),
        (MEASURED | {(0, 8): Timing(Stages(0.0, -1.0, 0.0), 0.0, 1)}, "gear 8 is -1.0 ms"),
    ],
)
def test_times_that_do_not_fit_are_refused(times: dict[tuple[int, int], Timing], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CostBook([GEARS], times)


def test_a_bucket_without_times_beside_one_with_them_is_refused() -> None:
    with pytest.raises(ConfigError, match="no times are given for bucket 1 of a model with 2"):
        CostBook([GEARS, GEARS], MEASURED)


# --- the host's part -----------------------------------------------------------------------------


def test_the_part_of_the_host_is_what_goes_beyond_the_stages() -> None:
    costs = book()
    for _ in range(HOST_RUNS):
        costs.update_host(0, 8, 4.65 + 0.6, None)
    assert costs.drifted
    [table] = costs.tables()
    assert table.host_ms == pytest.approx(0.6)
    assert table.total_ms_of(8) == pytest.approx(5.25)
    assert table.pace_ms_of(8) == pytest.approx(4.4), "it overlaps runs"
    assert not costs.drifted


def test_hiccups_of_the_host_count_for_nothing() -> None:
    costs = book()
    for run in range(2 * HOST_RUNS):
        costs.update_host(0, 8, 4.65 + (0.5 if run % 12 else 50.0), None)
    [table] = costs.tables()
    assert table.host_ms == pytest.approx(0.5)
    for _ in range(2 * HOST_RUNS):
        costs.update_host(0, 8, 4.65 + 0.55, None)
    assert not costs.drifted, "50 us are not worth another look"


def test_a_host_that_swings_is_reckoned_with_what_is_enough_for_nine_of_ten() -> None:
    costs = book()
    for run in range(2 * HOST_RUNS):
        costs.update_host(0, 8, 4.65 + 0.5 + 0.05 * (run % 11), None)
    assert costs.tables()[0].host_ms == pytest.approx(0.95, abs=0.051)


def test_hiccups_of_any_length_and_number_double_the_host_at_the_most() -> None:
    costs = book()
    for run in range(2 * HOST_RUNS):
        costs.update_host(0, 8, 4.65 + (0.5 if run % 3 else 50.0), None)
    assert costs.tables()[0].host_ms == pytest.approx(1.0)


def test_the_host_is_known_after_a_few_batches_and_then_better() -> None:
    costs = book()
    told = []
    for run in range(HOST_RUNS):
        costs.update_host(0, 8, 4.65 + (0.9 if run < 2 else 0.6), None)
        told.append(costs.tables()[0].host_ms)
    assert told[:3] == [0.0] * 3
    assert told[3] == pytest.approx(0.9)
    assert told[-1] == pytest.approx(0.6)


def test_a_run_that_was_quicker_than_the_table_took_the_host_no_time() -> None:
    costs = book()
    for _ in range(HOST_RUNS):
        costs.update_host(0, 8, 4.0, None)
    assert costs.tables()[0].host_ms == 0.0


def test_with_one_in_flight_the_host_stands_between_two_batches() -> None:
    costs = CostBook([GEARS], MEASURED, overlap=False)
    for _ in range(HOST_RUNS):
        costs.update_host(0, 8, 4.65 + 0.6, None)
    [table] = costs.tables()
    assert table.pace_ms_of(8) == pytest.approx(5.25)


def test_without_times_nothing_is_foretold() -> None:
    costs = CostBook([GEARS], {})
    costs.update_host(0, 8, 5.0, None)
    [table] = costs.tables()
    assert (table.host_ms, table.overlap) == (0.0, False)
