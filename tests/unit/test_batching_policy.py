import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.policy import POLICIES, Fixed, PadUp, policy_named
from ascend_serve.errors import ConfigError
from ascend_serve.spec.gears import Gears

pytestmark = pytest.mark.unit

GEARS = Gears((1, 4, 8, 16))
COSTS = CostTable.of(GEARS, {})


@given(st.sets(st.integers(1, 64), min_size=1, max_size=8), st.integers(1, 200))
def test_pad_up_takes_the_smallest_gear_that_covers_what_waits(sizes: set[int], rows: int) -> None:
    gears = Gears.of(sizes)
    chosen = PadUp().choose(rows, gears, CostTable.of(gears, {}))
    covering = [size for size in sizes if size >= rows]
    assert chosen == (min(covering) if covering else max(sizes))


def test_pad_up_may_use_every_gear() -> None:
    assert PadUp().usable(GEARS) == GEARS


@pytest.mark.parametrize("rows", [1, 4, 5, 100])
def test_fixed_always_runs_its_gear(rows: int) -> None:
    policy = Fixed(gear=4)
    assert policy.choose(rows, policy.usable(GEARS), COSTS) == 4


def test_fixed_without_a_gear_is_the_largest() -> None:
    assert Fixed().usable(GEARS) == Gears((16,))


def test_fixed_at_a_gear_that_is_not_compiled_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"gear 5 is not compiled; compiled: \[1, 4, 8, 16\]"):
        Fixed(gear=5).usable(GEARS)


@pytest.mark.parametrize("wrong", [0, -1, True, 2.0, "8"])
def test_fixed_refuses_what_is_no_gear(wrong: object) -> None:
    with pytest.raises(ConfigError, match="whole number of at least 1"):
        policy_named("fixed", gear=wrong)


def test_policies_go_by_name() -> None:
    assert policy_named("pad_up") == PadUp()
    assert policy_named("fixed") == Fixed()
    assert policy_named("fixed", gear=8) == Fixed(8)
    assert set(POLICIES) == {"pad_up", "fixed"}


def test_an_unknown_name_says_which_is_near() -> None:
    with pytest.raises(ConfigError, match="'padup'; did you mean 'pad_up'"):
        policy_named("padup")


def test_an_unknown_option_says_which_is_near() -> None:
    with pytest.raises(ConfigError, match="'fixed' has no option 'gears'; did you mean 'gear'"):
        policy_named("fixed", gears=8)


def test_an_option_where_none_is_taken_is_refused() -> None:
    with pytest.raises(ConfigError, match="'pad_up' has no option 'gear'; it takes none"):
        policy_named("pad_up", gear=8)
