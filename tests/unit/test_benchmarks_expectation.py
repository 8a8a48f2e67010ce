"""The planner in simulated time: what a benchmark's measured figures are set beside."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ascend_serve.batching.policy import Fixed, PadUp
from benchmarks.arrivals import poisson
from benchmarks.expectation import simulate
from benchmarks.figures import percentile

pytestmark = pytest.mark.unit

COSTS = {1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0}


def test_a_row_alone_takes_its_gear() -> None:
    seen = simulate(PadUp(), COSTS, slots=2, seconds=1, arrivals=[0.5])
    assert seen.latencies_ms == pytest.approx([1.3])
    assert seen.padding == 0


def test_a_row_alone_at_a_fixed_gear_takes_that_gear() -> None:
    seen = simulate(Fixed(16), COSTS, slots=2, seconds=1, arrivals=[0.5])
    assert seen.latencies_ms == pytest.approx([8.0])
    assert seen.padding == 15 / 16


def test_rows_that_come_while_the_device_runs_go_together() -> None:
    seen = simulate(PadUp(), COSTS, slots=2, seconds=1, arrivals=[0.0, 0.0005, 0.001])
    assert seen.batches == 2
    assert seen.latencies_ms == pytest.approx([1.3, 0.8 + 2.6, 0.3 + 2.6])
    assert seen.busy == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("policy", "clients", "rate"),
    [(PadUp(), 9, 1125), (PadUp(), 5, 1136), (PadUp(), 64, 2000), (Fixed(), 9, 1125)],
)
def test_closed_loops_run_at_rows_over_cost(policy: PadUp | Fixed, clients: int, rate: float) -> None:
    seen = simulate(policy, COSTS, slots=2, seconds=2, clients=clients)
    assert seen.answers_per_s == pytest.approx(rate, rel=0.01)
    assert seen.busy == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("rate", "mean_ms", "p99_ms"), [(100, 1.4, 3.2), (600, 2.6, 6.3), (1000, 4.5, 12.1), (1600, 11.2, 17.7)]
)
def test_rounding_up_has_the_figures_of_an_independent_simulation(
    rate: float, mean_ms: float, p99_ms: float
) -> None:
    # The column "round up, sealed late" of the batching study, which was simulated without this planner.
    seen = simulate(PadUp(), COSTS, slots=2, seconds=30, arrivals=poisson(rate, 30, seed=11))
    assert sum(seen.latencies_ms) / len(seen.latencies_ms) == pytest.approx(mean_ms, rel=0.05)
    assert percentile(seen.latencies_ms, 0.99) == pytest.approx(p99_ms, rel=0.1)


@settings(max_examples=60)
@given(
    st.lists(st.floats(0, 0.1), min_size=1, max_size=80).map(sorted),
    st.sampled_from([PadUp(), Fixed(), Fixed(4)]),
    st.integers(1, 3),
)
def test_every_row_is_answered_after_a_run_at_least(
    arrivals: list[float], policy: PadUp | Fixed, slots: int
) -> None:
    seen = simulate(policy, COSTS, slots=slots, seconds=1, arrivals=arrivals)
    assert len(seen.latencies_ms) == len(arrivals)
    assert min(seen.latencies_ms) >= 1.3 - 1e-6
    assert 0 < seen.busy <= 1 + 1e-9
    assert 0 <= seen.padding < 1
