"""What decisions look up: costs of clearing, work by when it is due, and what is expected of a device."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.batching.backlog import BIN_S, Backlog
from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.forecast import Forecast
from ascend_serve.batching.prices import MOST_LOOKED_AT, Prices, StageSeconds
from ascend_serve.spec.gears import Gears

pytestmark = pytest.mark.unit

GEARS = Gears((1, 4, 8, 16))
PRICES = Prices(CostTable(GEARS, (1.3, 2.6, 4.4, 8.0), (0.1,) * 4, (0.2,) * 4), GEARS)


def prices(gears: tuple[int, ...], fixed_ms: float, row_ms: float) -> Prices:
    compiled = Gears(gears)
    return Prices(CostTable(compiled, tuple(fixed_ms + row_ms * gear for gear in gears)), compiled)


# --- costs ---------------------------------------------------------------------------------------


def test_what_is_looked_up_is_what_the_table_says() -> None:
    assert PRICES.best == 16
    assert PRICES.row_ns == 500_000
    assert PRICES.stages_s[4] == pytest.approx((0.0001, 0.0026, 0.0002))
    assert [PRICES.least_s(rows) for rows in (1, 2, 4, 5, 16)] == pytest.approx(
        [0.0016, 0.0029, 0.0029, 0.0047, 0.0083]
    )


def test_what_may_be_split_takes_as_long_as_it_takes_to_clear_and_a_batch_at_least() -> None:
    assert [PRICES.least_split_s(rows) for rows in (1, 9, 32)] == pytest.approx([0.0016, 0.0057, 0.016])


@given(
    st.lists(st.floats(0.1, 9.0), min_size=4, max_size=4),
    st.integers(1, 300),
    st.integers(0, 300),
)
def test_more_rows_never_take_less(steps: list[float], rows: int, more: int) -> None:
    made = Prices(CostTable(GEARS, tuple(accumulate(steps))), GEARS)
    assert made.least_split_s(rows) <= made.least_split_s(rows + more) + 1e-9
    assert made.clear_ms(rows) <= made.clear_ms(rows + more) + 1e-6


def test_a_larger_gear_may_be_the_quicker_one() -> None:
    strange = Prices(CostTable(Gears((1, 4)), (5.0, 2.0)), Gears((1, 4)))
    assert strange.least_s(1) == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("rows", "ms"), [(0, 0.0), (1, 1.3), (2, 2.6), (5, 3.9), (9, 5.7), (12, 7.0), (17, 9.3), (32, 16.0)]
)
def test_clearing_is_as_cheap_as_any_series_of_gears(rows: int, ms: float) -> None:
    assert PRICES.clear_ms(rows) == pytest.approx(ms)


def test_beyond_what_is_looked_at_rows_clear_at_the_best_gear() -> None:
    far = 16 * MOST_LOOKED_AT * 10
    assert PRICES.clear_ms(far) == pytest.approx(far * 0.5)
    assert PRICES.clear_ms(far + 1) > PRICES.clear_ms(far)


@given(st.integers(0, 400), st.integers(0, 400))
def test_clearing_together_is_never_dearer_than_one_after_the_other(first: int, second: int) -> None:
    assert PRICES.clear_ms(first + second) <= PRICES.clear_ms(first) + PRICES.clear_ms(second) + 1e-6


@pytest.mark.parametrize(
    ("gears", "fixed_ms", "row_ms", "pad_up", "step_down", "worst"),
    [
        ((1, 2, 4, 8, 16, 32), 20, 1, 1.00, 1.62, 1.00),
        ((1, 2, 4, 8, 16, 32), 2, 3, 1.22, 1.01, 1.78),
        ((1, 8, 32), 20, 1, 1.00, 2.56, 1.06),
        ((1, 8, 32), 2, 3, 1.38, 1.04, 3.16),
        ((1, 4, 16, 64), 8, 0.5, 1.08, 1.68, 1.63),
    ],
)
def test_rounding_up_and_down_cost_what_the_study_of_padding_policies_says(
    gears: tuple[int, ...], fixed_ms: float, row_ms: float, pad_up: float, step_down: float, worst: float
) -> None:
    """Average cost over n = 1 … largest relative to that of the cheapest plan (facts: peers §4.6)."""
    table = prices(gears, fixed_ms, row_ms)
    best = {rows: table.clear_ms(rows) for rows in range(1, gears[-1] + 1)}
    up = {rows: table.costs.ms_of(table.gears.cover(rows)) for rows in best}

    def down(rows: int) -> float:
        full = max(gear for gear in gears if gear <= rows)
        return table.costs.ms_of(full) + (down(rows - full) if rows > full else 0.0)

    def mean(costs: dict[int, float]) -> float:
        return sum(costs.values()) / sum(best.values())

    assert mean(up) == pytest.approx(pad_up, abs=0.006)
    assert mean({rows: down(rows) for rows in best}) == pytest.approx(step_down, abs=0.006)
    assert max(up[rows] / best[rows] for rows in best) == pytest.approx(worst, abs=0.006)


# --- work by when it is due ----------------------------------------------------------------------


def test_work_due_later_does_not_go_before() -> None:
    backlog = Backlog(horizon_s=2.0)
    for due, work in ((0.5, 1), (0.51, 10), (1.9, 100)):
        backlog.add(0.0, due, work)
    assert [backlog.ahead_ns(0.0, due) for due in (0.4, 0.5, 0.505, 0.51, 1.8, 2.0)] == [0, 1, 1, 11, 11, 111]
    backlog.remove(0.51, 10)
    assert backlog.ahead_ns(0.0, 1.8) == 1


@given(
    st.floats(0, 1e6),
    st.floats(0.05, 3.0),
    st.lists(
        st.tuples(st.floats(0, 0.4) | st.floats(0, 10.0), st.floats(0, 1), st.integers(1, 9), st.booleans()),
        max_size=60,
    ),
    st.floats(0, 1),
)
def test_work_ahead_is_that_of_a_plain_list_but_for_one_bin(
    now: float, horizon: float, steps: list[tuple[float, float, int, bool]], asked: float
) -> None:
    backlog = Backlog(horizon)
    waits: list[tuple[float, int]] = []
    for gap, part, work, leaves in steps:
        now += gap
        if leaves and waits:
            gone = waits.pop(work % len(waits))
            backlog.remove(*gone)
        due = now + part * horizon
        backlog.add(now, due, work)
        waits.append((due, work))
    due = now + asked * horizon
    ahead = backlog.ahead_ns(now, due)
    assert backlog.total_ns == sum(work for _, work in waits)
    assert ahead >= sum(work for at, work in waits if at <= due)
    assert ahead <= sum(work for at, work in waits if at <= due + BIN_S)


# --- what is expected of a device ----------------------------------------------------------------


def test_a_batch_copies_in_while_the_one_before_it_computes() -> None:
    forecast = Forecast()
    assert forecast.back_at(1.0, (0.1, 1.0, 0.1)) == pytest.approx(2.2)
    forecast.sealed(0, 1.0, (0.1, 1.0, 0.1))
    assert forecast.compute_until == pytest.approx(2.1)
    assert forecast.back_at(1.5, (0.1, 1.0, 0.1)) == pytest.approx(3.2)
    forecast.sealed(1, 1.5, (0.1, 1.0, 0.1))
    assert forecast.back_at(1.6, (2.0, 1.0, 0.1)) == pytest.approx(4.7), "copy in is the longest stage here"
    assert forecast.back_at(1.6, (0.0, 0.0, 0.5)) == pytest.approx(3.7)


class Pipeline:
    """A device of three engines, each busy with one batch at a time, and a host before it."""

    def __init__(self, host_s: float) -> None:
        self.host_s = host_s
        self.free_at = [0.0, 0.0, 0.0]

    def run(self, now: float, stages: StageSeconds) -> float:
        at = now + self.host_s
        for engine, stage_s in enumerate(stages):
            self.free_at[engine] = at = max(at, self.free_at[engine]) + stage_s
        return at


stage_seconds = st.tuples(st.floats(0, 3), st.floats(0.01, 3), st.floats(0, 3))


@given(
    batches=st.lists(st.tuples(st.floats(0, 4), stage_seconds), min_size=1, max_size=6),
    new=stage_seconds,
    host_s=st.floats(0, 1),
    later=st.floats(0.001, 1),
)
def test_it_foretells_a_device_that_keeps_to_its_table(
    batches: list[tuple[float, StageSeconds]], new: StageSeconds, host_s: float, later: float
) -> None:
    forecast, device, now = Forecast(), Pipeline(host_s), 0.0
    forecast.host_s = host_s
    running: list[tuple[int, float]] = []
    for slot, (gap, stages) in enumerate(batches):
        now += gap
        while running and running[0][1] <= now:
            forecast.landed(*running.pop(0))
        back_at = device.run(now, stages)
        assert forecast.back_at(now, stages) == pytest.approx(back_at)
        forecast.sealed(slot, now, stages)
        running.append((slot, back_at))
    # Whoever is sealed by then is back as early as can be, and whoever is sealed later is not.
    earliest, latest = forecast.back_at(now, new), forecast.latest_start(new)
    if latest > now:
        assert forecast.back_at(latest, new) == pytest.approx(earliest)
        assert forecast.back_at(latest + later, new) == pytest.approx(earliest + later)
    else:
        assert forecast.back_at(now + later, new) == pytest.approx(earliest + later)


def test_a_batch_that_came_back_late_sets_those_behind_it_right() -> None:
    forecast = Forecast()
    forecast.sealed(0, 0.0, (0.5, 1.0, 0.25))
    forecast.sealed(1, 0.5, (0.5, 1.0, 0.25))
    assert forecast.compute_until == pytest.approx(2.5)
    forecast.landed(0, 2.75)
    assert forecast.compute_until == pytest.approx(3.5), "the first was computed at 2.5, a second late"


def test_when_nothing_runs_the_forecast_starts_afresh() -> None:
    forecast = Forecast()
    forecast.sealed(0, 0.0, (1.0, 1.0, 1.0))
    forecast.landed(0, 0.4)
    assert forecast.back_at(0.5, (0.0, 1.0, 0.0)) == pytest.approx(1.5)
