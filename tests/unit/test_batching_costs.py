import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.batching.costs import CostTable
from ascend_serve.errors import ConfigError
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages, Timing

pytestmark = pytest.mark.unit

GEARS = Gears((1, 4, 8, 16))
MEASURED = {1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0}


def test_a_table_answers_by_gear_whatever_the_order_it_was_measured_in() -> None:
    table = CostTable.of(GEARS, dict(reversed(MEASURED.items())))
    assert {gear: table.ms_of(gear) for gear in GEARS} == MEASURED


def test_the_best_gear_has_the_most_rows_per_millisecond() -> None:
    assert CostTable.of(GEARS, MEASURED).best_gear(GEARS) == 16
    assert CostTable.of(GEARS, MEASURED | {16: 9.0}).best_gear(GEARS) == 8


def test_the_best_gear_is_sought_among_those_that_may_be_used() -> None:
    assert CostTable.of(GEARS, MEASURED).best_gear(Gears((1, 4))) == 4


def test_of_two_equally_good_gears_the_larger_is_best() -> None:
    assert CostTable.of(Gears((2, 4)), {2: 1.0, 4: 2.0}).best_gear(Gears((2, 4))) == 4


@given(st.sets(st.integers(1, 256), min_size=1, max_size=12))
def test_with_nothing_measured_the_largest_gear_is_best(sizes: set[int]) -> None:
    gears = Gears.of(sizes)
    assert CostTable.of(gears, {}).best_gear(gears) == max(sizes)


def test_a_run_too_short_for_the_timer_still_costs_something() -> None:
    table = CostTable.of(Gears((1, 8)), {1: 0.0, 8: 0.0})
    assert table.best_gear(table.gears) == 8
    assert table.clear_ms(8) > 0


def test_clearing_takes_the_rows_at_the_best_rate() -> None:
    assert CostTable.of(GEARS, MEASURED).clear_ms(64) == pytest.approx(32.0)


@pytest.mark.parametrize("missing_or_foreign", [{1: 1.0}, MEASURED | {32: 9.0}])
def test_times_and_gears_must_be_the_same_set(missing_or_foreign: dict[int, float]) -> None:
    with pytest.raises(ConfigError, match=r"gears \[1.*compiled for \[1, 4, 8, 16\]"):
        CostTable.of(GEARS, missing_or_foreign)


@pytest.mark.parametrize("wrong", [-0.1, math.nan, math.inf])
def test_a_time_that_cannot_be_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigError, match=f"gear 8 is {wrong} ms"):
        CostTable.of(GEARS, MEASURED | {8: wrong})


def test_a_gear_that_is_not_compiled_has_no_cost() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        CostTable.of(GEARS, MEASURED).ms_of(2)


# --- stages --------------------------------------------------------------------------------------


def timing(copy_in_ms: float, compute_ms: float, copy_out_ms: float) -> Timing:
    return Timing(Stages(copy_in_ms, compute_ms, copy_out_ms), 0.0, 5)


def test_a_table_of_timings_knows_each_stage_and_their_sum() -> None:
    table = CostTable.of(Gears((1, 8)), {8: timing(2.0, 4.0, 1.0), 1: timing(0.25, 1.5, 0.25)})
    assert (table.copy_in_ms, table.ms, table.copy_out_ms) == ((0.25, 2.0), (1.5, 4.0), (0.25, 1.0))
    assert (table.ms_of(8), table.total_ms_of(8)) == (4.0, 7.0)
    assert table.total_ms_of(1) == 2.0


def test_without_copies_the_whole_run_is_compute() -> None:
    table = CostTable.of(GEARS, MEASURED)
    assert [table.total_ms_of(gear) for gear in GEARS] == [table.pace_ms_of(gear) for gear in GEARS]
    assert [table.total_ms_of(gear) for gear in GEARS] == list(MEASURED.values())


def test_the_best_gear_is_that_of_the_longest_stage_for_the_stages_overlap() -> None:
    by_compute_16_is_best = {8: timing(4.0, 4.0, 0.5), 16: timing(9.0, 7.0, 1.0)}
    table = CostTable.of(Gears((8, 16)), by_compute_16_is_best)
    assert table.best_gear(table.gears) == 8
    assert table.clear_ms(16) == pytest.approx(8.0)


@pytest.mark.parametrize("wrong", [(-0.1, 1.0, 0.0), (0.0, math.nan, 0.0), (0.0, 1.0, math.inf)])
def test_a_stage_that_cannot_be_is_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match=r"the cost of gear 4 is .* it must be finite"):
        CostTable.of(Gears((4,)), {4: timing(*wrong)})


@pytest.mark.parametrize("times", [((1.0,), (), ()), ((1.0, 2.0), (0.5,), ()), ((1.0, 2.0), (), (0.5,))])
def test_a_table_has_one_time_for_each_gear(times: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(ValueError, match="times for 2 gears"):
        CostTable(Gears((1, 2)), *times)
