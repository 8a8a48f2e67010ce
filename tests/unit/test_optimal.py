"""The policy `optimal` and the decision process behind it, judged by a linear program that we did not write."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import poisson

from ascend_serve.batching.choice import WAIT, View
from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.optimal import RATES, Optimal
from ascend_serve.batching.policy import POLICIES, policy_named
from ascend_serve.batching.smdp import Holding, Process, least_flow
from ascend_serve.errors import ConfigError
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages, Timing

pytestmark = pytest.mark.unit

PICTURES = {1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0}


def table(ms: dict[int, float]) -> CostTable:
    return CostTable.of(Gears.of(ms), ms)


def view(rows: int, rate_per_ms: float, costs: CostTable, *, oldest_ms: float = 0.0) -> View:
    return View(rows, oldest_ms, rate_per_ms, 0, costs.gears, costs)


# --- the judge: the greatest gain g for which values h satisfy h(n) + g time <= cost + the mean of h after the action,
# --- for every action in every state; by the duality of linear programs that is the least average cost


def least_gain(ms, rate, states, *, holding=None, may_wait=False):
    holding = holding or Holding()
    bounds, costs = [], []
    for rows in range(states + 1):
        for gear in [*(ms if rows else ()), *([0] if rows == 0 or (may_wait and rows < max(ms)) else [])]:
            took = ms[gear] if gear else 1 / rate
            left = max(0, rows - gear)
            come = poisson.pmf(np.arange(states - left), rate * took) if gear else np.eye(1, states, 1)[0]
            chances = np.zeros(states + 1)
            chances[left : left + len(come[: states - left])] = come[: states - left]
            chances[states] += 1 - chances.sum()
            bounds.append(np.append(np.eye(1, states + 1, rows)[0] - chances, took))
            costs.append(expected_cost(holding, rows, rate, took, poisson_stream=bool(gear)))
    gain_alone = np.append(np.zeros(states + 1), -1.0)
    ranges = [(0, 0), *([(None, None)] * (states + 1))]
    solved = linprog(gain_alone, A_ub=np.array(bounds), b_ub=costs, bounds=ranges, method="highs")
    assert solved.status == 0
    return -solved.fun


def expected_cost(holding, rows, rate, took, *, poisson_stream):
    if not poisson_stream:
        return holding.of(np.array([float(rows)]), rate)[0] * took
    if not holding.weight:
        return rows * took + rate * took**2 / 2
    # The integral over the run of the cost of the rows there, by the midpoints of many small steps.
    middles = (np.arange(400) + 0.5) * took / 400
    more = np.arange(int(rate * took + 12 * math.sqrt(rate * took)) + 30)
    chances = poisson.pmf(more[None, :], rate * middles[:, None])
    return (chances @ holding.of(rows + more.astype(float), rate)).mean() * took


TABLES = [
    (PICTURES, 1.0, 60),
    (PICTURES, 1.6, 90),
    ({1: 2.0}, 0.3, 40),
    ({2: 3.0, 3: 3.2}, 0.7, 50),
    ({1: 5.0, 8: 33.0}, 0.2, 60),
    ({1: 1.0, 2: 1.0, 5: 4.0, 10: 5.5}, 1.2, 60),
]


@pytest.mark.parametrize(("ms", "rate", "states"), TABLES)
@pytest.mark.parametrize("may_wait", [False, True])
def test_the_gain_is_that_of_a_linear_program(ms, rate, states, may_wait):
    gain = Process(table(ms), states=states).solve(rate, may_wait=may_wait).gain
    assert gain == pytest.approx(least_gain(ms, rate, states, may_wait=may_wait), rel=1e-6)


@pytest.mark.parametrize("slo_ms", [4.0, 12.0])
def test_the_gain_with_a_weighted_tail_is_that_of_a_linear_program(slo_ms):
    holding = Holding(weight=10.0, slo_ms=slo_ms)
    gain = Process(table(PICTURES), states=60).solve(1.2, holding=holding).gain
    assert gain == pytest.approx(least_gain(PICTURES, 1.2, 60, holding=holding), rel=1e-5)


def test_waiting_pays_near_saturation_in_few_states_and_by_little():
    process = Process(table(PICTURES))
    working = process.solve(1.6)
    waiting = process.solve(1.6, may_wait=True)
    assert np.flatnonzero(waiting.waits).tolist() == [0, 3]
    assert 0.98 * working.gain < waiting.gain < working.gain
    assert not process.solve(1.0, may_wait=True).waits[1:].any()


def test_the_start_makes_no_difference():
    process = Process(table(PICTURES))
    far = process.solve(0.2)
    cold, warm = process.solve(1.5), process.solve(1.5, start=far.at_knots)
    assert warm.gain == pytest.approx(cold.gain, rel=1e-9)
    assert (warm.runs == cold.runs).all()


def test_sparse_knots_are_as_good_as_all_states():
    # With 800 states above 192 values are interpolated; one process keeps nearly all of them instead.
    ms = {1: 3.0, 16: 10.0, 64: 30.0}
    sparse = Process(table(ms), states=640).solve(1.9)
    dense = Process(table(ms), states=192).solve(1.9)
    assert sparse.gain == pytest.approx(dense.gain, rel=1e-3)
    assert (sparse.runs[:150] == dense.runs[:150]).mean() > 0.97


def test_eight_gears_of_up_to_256_rows_are_solved_in_well_under_a_second():
    ms = {gear: 2 + 0.5 * gear for gear in (1, 2, 4, 8, 16, 32, 64, 256)}
    begin = time.thread_time()
    solved = Optimal().prepared((table(ms),))
    assert time.thread_time() - begin < 3.0  # 0.5 s on the machine it was written on; shared ones are slower
    assert len(solved.grids[0].rates_per_ms) == RATES


# --- the policy ----------------------------------------------------------------------------------------------------


def test_it_is_a_policy_by_name():
    assert POLICIES["optimal"] is Optimal
    assert policy_named("optimal", objective="tail", slo_ms=20) == Optimal("tail", 20)


def test_nine_rows_run_as_eight_and_one_waits():
    solved = Optimal().prepared((table(PICTURES),))
    assert [solved.choose(view(rows, 1.0, table(PICTURES))) for rows in (1, 4, 9, 16, 300)] == [
        1,
        4,
        8,
        8,
        16,
    ]


def test_above_the_capacity_the_table_of_the_highest_rate_holds():
    costs = table(PICTURES)
    solved = Optimal().prepared((costs,))
    assert [solved.choose(view(n, 50.0, costs)) for n in range(1, 99)] == [
        solved.choose(view(n, 1.92, costs)) for n in range(1, 99)
    ]


def test_each_bucket_has_its_own_table():
    small, large = table({1: 1.0, 8: 1.5}), table({1: 1.0, 8: 30.0})
    solved = Optimal().prepared((small, large))
    assert solved.choose(View(4, 0.0, 0.1, 0, small.gears, small)) == 8
    assert solved.choose(View(4, 0.0, 0.1, 1, large.gears, large)) == 1


def test_copies_count_for_a_policy_is_asked_when_nothing_runs():
    gears = Gears((1, 8))
    copied = CostTable.of(
        gears,
        {1: Timing(Stages(0.1, 1.0, 0.1), 0, 1), 8: Timing(Stages(20.0, 1.5, 20.0), 0, 1)},
    )
    assert Optimal().prepared((copied,)).choose(view(5, 0.01, copied)) == 1
    assert Optimal().prepared((table({1: 1.0, 8: 1.5}),)).choose(view(5, 0.01, table({1: 1.0, 8: 1.5}))) == 8


def test_preparing_for_the_same_tables_again_costs_nothing():
    costs = (table(PICTURES),)
    solved = Optimal().prepared(costs)
    assert solved.prepared(costs) is solved
    assert solved.prepared((table({1: 1.0, 8: 1.5}),)) is not solved


def test_unprepared_it_clears_what_waits_with_the_least_flow_time():
    costs = table(PICTURES)
    assert [Optimal().choose(view(rows, 1.0, costs)) for rows in (1, 4, 9, 16, 5000)] == [1, 4, 4, 8, 16]


def test_a_gear_that_may_not_be_used_is_rounded_up_from():
    costs = table(PICTURES)
    for policy in (Optimal(), Optimal().prepared((costs,))):
        assert policy.choose(View(9, 0.0, 1.0, 0, Gears((1, 16)), costs)) == 16


def test_it_waits_where_that_pays_and_never_longer_than_its_patience():
    costs = table(PICTURES)
    solved = Optimal(may_wait=True).prepared((costs,))
    assert solved.patience_ms == pytest.approx(9.3)
    assert solved.choose(view(3, 1.6, costs)) == WAIT
    assert solved.choose(view(3, 1.6, costs, oldest_ms=9.3)) == 4
    assert solved.choose(view(3, 0.5, costs)) == 4
    assert Optimal(may_wait=True).patience_ms is None


def test_without_leave_it_never_waits():
    costs = table(PICTURES)
    solved = Optimal().prepared((costs,))
    assert solved.patience_ms is None
    assert all(
        solved.choose(view(n, rate, costs)) != WAIT for n in range(1, 200) for rate in (0.1, 1.5, 1.9, 3)
    )


@settings(max_examples=15, deadline=None)
@given(
    st.dictionaries(st.integers(1, 20), st.floats(0.05, 50), min_size=1, max_size=5),
    st.floats(0, 20),
    st.integers(1, 2000),
    st.booleans(),
)
def test_whatever_the_table_it_chooses_a_gear(ms, rate, rows, may_wait):
    costs = table(ms)
    policy = Optimal(may_wait=may_wait)
    assert policy.choose(view(rows, rate, costs)) in costs.gears
    chosen = policy.prepared((costs,)).choose(view(rows, rate, costs))
    assert chosen in costs.gears or (may_wait and chosen == WAIT)


@given(st.lists(st.floats(0.1, 20), min_size=3, max_size=3), st.integers(0, 40))
def test_least_flow_is_the_best_of_all_orders(ms, rows):
    gears = (1, 3, 7)
    first = least_flow(gears, tuple(ms), rows)

    def followed(left):
        place = first[left]
        return left * ms[place] + followed(max(0, left - gears[place])) if left else 0.0

    best = [0.0]
    for left in range(1, rows + 1):
        best.append(
            min(left * cost + best[max(0, left - gear)] for gear, cost in zip(gears, ms, strict=True))
        )
    assert followed(rows) == pytest.approx(best[rows])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"objective": "p99"}, "'mean' or 'tail'"),
        ({"objective": "tail"}, "needs slo_ms"),
        ({"slo_ms": 10.0}, "give objective 'tail'"),
        ({"tail_weight": 4.0}, "tail_weight means nothing to objective 'mean'"),
        ({"objective": "tail", "slo_ms": 0}, "slo_ms is 0"),
        ({"objective": "tail", "slo_ms": float("nan")}, "slo_ms is nan"),
        ({"objective": "tail", "slo_ms": 5, "tail_weight": -1}, "tail_weight is -1"),
        ({"objective": "tail", "slo_ms": 5, "tail_weight": True}, "tail_weight is True"),
        ({"may_wait": "yes"}, "may_wait is 'yes'"),
    ],
)
def test_a_wrong_option_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        Optimal(**options)
