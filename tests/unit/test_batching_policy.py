from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.policy import (
    POLICIES,
    WAIT,
    ClosingPolicy,
    Fixed,
    FixedWait,
    LeastTime,
    MinCost,
    PadUp,
    StepDown,
    View,
    policy_named,
)
from ascend_serve.errors import ConfigError
from ascend_serve.spec.gears import Gears

pytestmark = pytest.mark.unit

GEARS = Gears((1, 4, 8, 16))
COSTS = CostTable.of(GEARS, {1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0})

gear_sets = st.sets(st.integers(1, 64), min_size=1, max_size=8).map(Gears.of)


def view(rows: int, *, gears: Gears = GEARS, costs: CostTable = COSTS, oldest_ms: float = 0.0) -> View:
    return View(rows, oldest_ms, 1.0, 0, gears, costs)


def table(gears: Gears, steps: list[float]) -> CostTable:
    """A larger gear takes longer."""
    return CostTable(gears, tuple(accumulate(steps[: len(gears)])))


steps = st.lists(st.floats(0.1, 9.0), min_size=8, max_size=8)


@given(gear_sets, st.integers(1, 200))
def test_pad_up_takes_the_smallest_gear_that_covers_what_waits(gears: Gears, rows: int) -> None:
    chosen = PadUp().choose(view(rows, gears=gears))
    covering = [size for size in gears if size >= rows]
    assert chosen == (min(covering) if covering else max(gears))


@given(gear_sets, st.integers(1, 200))
def test_step_down_takes_the_largest_gear_that_is_full(gears: Gears, rows: int) -> None:
    chosen = StepDown().choose(view(rows, gears=gears))
    full = [size for size in gears if size <= rows]
    assert chosen == (max(full) if full else min(gears))


@given(gear_sets, st.integers(1, 200), steps)
def test_min_cost_takes_the_gear_beside_that_costs_less_for_each_row(
    gears: Gears, rows: int, steps: list[float]
) -> None:
    costs = table(gears, steps)
    chosen = MinCost().choose(view(rows, gears=gears, costs=costs))
    rows = min(rows, gears.largest)
    up, full = gears.cover(rows), [size for size in gears if size <= rows]
    if rows in gears or not full:
        assert chosen == up
    else:
        down = max(full)
        better = costs.ms_of(up) / rows < costs.ms_of(down) / down
        assert chosen == (up if better else down)


def test_min_cost_weighs_with_the_tables_of_the_padding_study() -> None:
    """A launch that costs 20 ms is dear, so rounding up is right; rows of 3 ms are, so it is wrong."""
    gears = Gears((1, 8, 32))
    dear = {
        fixed: CostTable(gears, tuple(fixed + row * gear for gear in gears))
        for fixed, row in ((20, 1), (2, 3))
    }
    assert MinCost().choose(view(9, gears=gears, costs=dear[20])) == 8
    assert MinCost().choose(view(20, gears=gears, costs=dear[20])) == 32
    assert MinCost().choose(view(20, gears=gears, costs=dear[2])) == 8


def test_min_cost_goes_down_among_equals() -> None:
    gears = Gears((4, 8))
    assert MinCost().choose(view(6, gears=gears, costs=CostTable(gears, (4.0, 6.0)))) == 4


@given(st.integers(1, 40), st.floats(0, 20))
def test_fixed_wait_waits_until_its_timer_or_a_full_batch(rows: int, oldest_ms: float) -> None:
    policy = FixedWait(max_batch_size=10, wait_ms=5.0)
    chosen = policy.choose(view(rows, oldest_ms=oldest_ms))
    if rows < 10 and oldest_ms < 5.0:
        assert chosen == WAIT
    else:
        assert chosen == GEARS.cover(min(rows, 10))


def test_fixed_wait_has_the_settings_of_serve_batch() -> None:
    policy = FixedWait()
    assert policy.closing(GEARS) == (16, 10.0)
    assert policy.patience_ms == 10.0
    assert FixedWait(max_batch_size=4, wait_ms=0.0).closing(GEARS) == (4, 0.0)
    assert isinstance(policy, ClosingPolicy)


def test_fixed_wait_needs_a_gear_for_its_batches() -> None:
    with pytest.raises(ConfigError, match="max_batch_size is 17, but the largest gear is 16"):
        FixedWait(max_batch_size=17).closing(GEARS)


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), True, "5", None])
def test_fixed_wait_refuses_what_is_no_time(wrong: object) -> None:
    with pytest.raises(ConfigError, match="wait_ms is"):
        policy_named("fixed_wait", wait_ms=wrong)


@pytest.mark.parametrize("name", [name for name in POLICIES if name not in ("optimal", "fixed_wait")])
def test_what_looks_at_one_batch_never_waits_and_prepares_nothing(name: str) -> None:
    policy = policy_named(name)
    assert policy.patience_ms is None
    assert policy.prepared([COSTS]) is policy
    assert not isinstance(policy, ClosingPolicy)


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "fixed"])
def test_every_policy_but_fixed_may_use_every_gear(name: str) -> None:
    assert policy_named(name).usable(GEARS) == GEARS


@pytest.mark.parametrize("name", POLICIES)
@given(rows=st.integers(1, 300), oldest_ms=st.floats(0, 50), rate=st.floats(0, 5))
def test_every_policy_chooses_a_usable_gear_or_waits(
    name: str, rows: int, oldest_ms: float, rate: float
) -> None:
    policy = policy_named(name)
    usable = policy.usable(GEARS)
    chosen = policy.choose(View(rows, oldest_ms, rate, 0, usable, COSTS))
    assert chosen in usable or (chosen == WAIT and policy.patience_ms is not None)


@pytest.mark.parametrize("rows", [1, 4, 5, 100])
def test_fixed_always_runs_its_gear(rows: int) -> None:
    policy = Fixed(gear=4)
    assert policy.choose(view(rows, gears=policy.usable(GEARS))) == 4


def test_fixed_without_a_gear_is_the_largest() -> None:
    assert Fixed().usable(GEARS) == Gears((16,))


def test_fixed_at_a_gear_that_is_not_compiled_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"gear 5 is not compiled; compiled: \[1, 4, 8, 16\]"):
        Fixed(gear=5).usable(GEARS)


@pytest.mark.parametrize(("name", "option"), [("fixed", "gear"), ("fixed_wait", "max_batch_size")])
@pytest.mark.parametrize("wrong", [0, -1, True, 2.0, "8"])
def test_what_is_no_number_of_rows_is_refused(name: str, option: str, wrong: object) -> None:
    with pytest.raises(ConfigError, match=f"'{name}': {option} is .*whole number of at least 1"):
        policy_named(name, **{option: wrong})


def test_policies_go_by_name() -> None:
    assert policy_named("pad_up") == PadUp()
    assert policy_named("fixed") == Fixed()
    assert policy_named("fixed", gear=8) == Fixed(8)
    assert policy_named("fixed_wait", wait_ms=2) == FixedWait(wait_ms=2)
    assert set(POLICIES) == {"optimal", "pad_up", "step_down", "min_cost", "fixed_wait", "fixed"}


def test_an_unknown_name_says_which_is_near() -> None:
    with pytest.raises(ConfigError, match="'padup'; did you mean 'pad_up'"):
        policy_named("padup")


def test_an_unknown_option_says_which_is_near() -> None:
    with pytest.raises(ConfigError, match="'fixed' has no option 'gears'; did you mean 'gear'"):
        policy_named("fixed", gears=8)


def test_an_option_where_none_is_taken_is_refused() -> None:
    with pytest.raises(ConfigError, match="'pad_up' has no option 'gear'; it takes none"):
        policy_named("pad_up", gear=8)


def test_least_time_begins_the_shortest_way_through_all_rows() -> None:
    gears = Gears((1, 2, 4, 8))
    costs = CostTable.of(gears, {1: 40.0, 2: 40.0, 4: 40.0, 8: 400.0})
    policy = LeastTime()
    assert [policy.choose(view(rows, gears=gears, costs=costs)) for rows in (1, 2, 3, 4, 5, 15, 16, 99)] == [
        4
    ] * 8
    costs = CostTable.of(gears, {1: 1.3, 2: 1.9, 4: 2.6, 8: 4.4})
    assert [policy.choose(view(rows, gears=gears, costs=costs)) for rows in (1, 3, 9, 12, 99)] == [
        1,
        4,
        8,
        8,
        8,
    ]


@given(
    ms=st.lists(st.integers(1, 50), min_size=4, max_size=4),
    rows=st.integers(1, 15),
)
def test_least_time_is_the_least_of_all_ways(ms: list[int], rows: int) -> None:
    gears = Gears((1, 2, 4, 8))
    costs = dict(zip(gears, map(float, ms), strict=True))

    def least(left: int) -> float:
        return min(costs[gear] + least(left - gear) for gear in gears) if left > 0 else 0.0

    first = LeastTime().choose(view(rows, gears=gears, costs=CostTable.of(gears, costs)))
    assert costs[first] + least(rows - first) == least(rows)
