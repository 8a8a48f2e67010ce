"""The figures that benchmarks print, and the streams they are measured under."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.arrivals import BURST_S, bursts, poisson
from benchmarks.figures import Spread, line, pairwise, percentile, table

pytestmark = pytest.mark.unit

VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50)


def test_a_spread_shows_median_least_and_most() -> None:
    assert Spread.of([3.0, 1.0, 2.0]).show(1) == "2.0 (1.0-3.0)"


def test_one_repeat_has_no_range() -> None:
    assert Spread.of([2.0]).show() == "2.00"


def test_a_spread_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least once"):
        Spread.of([])


def test_ratios_are_taken_pair_by_pair() -> None:
    # The machine was twice as slow in the second repeat; the ratio is the same in both.
    assert pairwise([10.0, 20.0], [5.0, 10.0]) == Spread(2.0, 2.0, 2.0)


def test_ratios_need_pairs() -> None:
    with pytest.raises(ValueError, match="longer"):
        pairwise([1.0, 2.0], [1.0, 2.0, 3.0])


def test_a_ratio_to_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to compare with"):
        pairwise([1.0], [0.0])


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (0.995, 100), (1.0, 100)])
def test_percentiles_of_a_hundred(share: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == expected


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_percentile_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        percentile([1.0], share)


@given(VALUES, st.floats(0, 1))
def test_a_percentile_covers_its_share_and_no_smaller_value_does(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert sum(value <= found for value in values) >= share * len(values)
    below = [value for value in values if value < found]
    assert not below or len(below) < share * len(values)


def test_a_line_is_found() -> None:
    idle, each = line([(50, 0.11), (100, 0.16), (200, 0.26)])
    assert idle == pytest.approx(0.06)
    assert each == pytest.approx(0.001)


def test_a_table_aligns_numbers_to_the_right() -> None:
    assert table(("name", "ms"), [("a", "1.0"), ("longer", "12.5")]).splitlines() == [
        "name      ms",
        "------  ----",
        "a        1.0",
        "longer  12.5",
    ]


@given(st.floats(1, 3000), st.floats(0.01, 2), st.integers(0, 1000))
def test_arrivals_ascend_within_the_stream(rate: float, seconds: float, seed: int) -> None:
    times = poisson(rate, seconds, seed)
    assert times == sorted(times)
    assert all(0 < time < seconds for time in times)


def test_a_seed_gives_one_stream() -> None:
    assert poisson(100, 1, 3) == poisson(100, 1, 3)
    assert poisson(100, 1, 3) != poisson(100, 1, 4)


def test_the_rate_and_its_variance_are_those_of_a_poisson_stream() -> None:
    counts = [len(poisson(100, 1, seed)) for seed in range(400)]
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / len(counts)
    assert mean == pytest.approx(100, rel=0.03)
    assert variance == pytest.approx(100, rel=0.25)


@pytest.mark.parametrize(("rate", "seconds"), [(0, 1), (-5, 1), (10, 0)])
def test_a_stream_of_nothing_is_refused(rate: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        poisson(rate, seconds, 0)


@given(st.floats(10, 3000), st.floats(0.01, 3), st.floats(0, 0.95), st.integers(0, 1000))
def test_arrivals_with_bursts_ascend_within_the_stream(
    rate: float, seconds: float, swing: float, seed: int
) -> None:
    times = bursts(rate, seconds, swing, seed)
    assert times == sorted(times)
    assert all(0 <= time < seconds for time in times)


def test_bursts_alternate_around_their_mean() -> None:
    times = bursts(1000, 40, 0.8, 7)
    high = sum(int(time / BURST_S) % 2 == 0 for time in times)
    assert len(times) == pytest.approx(40_000, rel=0.02)
    assert high / len(times) == pytest.approx(0.9, abs=0.01)


def test_bursts_without_swing_are_a_poisson_stream() -> None:
    assert bursts(500, 3, 0.0, 5) == pytest.approx(poisson(500, 3, 5))


@pytest.mark.parametrize(
    ("rate", "seconds", "swing"), [(0, 1, 0.5), (10, 0, 0.5), (10, 1, 1.0), (10, 1, -0.1)]
)
def test_bursts_of_nothing_are_refused(rate: float, seconds: float, swing: float) -> None:
    with pytest.raises(ValueError, match="swing"):
        bursts(rate, seconds, swing, 0)
