"""The planner in simulated time, judged by closed forms of queues and by figures of a study without this code."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.optimal import Optimal
from ascend_serve.batching.policy import Fixed, PadUp, policy_named
from ascend_serve.errors import ConfigError
from ascend_serve.simulating.host import Host
from ascend_serve.simulating.outcome import Outcome
from ascend_serve.simulating.simulation import Settings, simulate, simulate_clients
from ascend_serve.simulating.traces import Arrival, bursts, poisson
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages, Timing

pytestmark = pytest.mark.unit


def table(ms: dict[int, float]) -> CostTable:
    return CostTable.of(Gears.of(ms), ms)


PICTURES = table({1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0})


def staged(gear: int, *stages: float) -> CostTable:
    return CostTable.of(Gears((gear,)), {gear: Timing(Stages(*stages), 0.0, 1)})


# --- closed forms --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_gear_of_one_row_is_the_queue_m_d_1(load):
    service_ms = 2.0
    seen = simulate([table({1: service_ms})], PadUp(), poisson(load / service_ms * 1e3, 120, seed=3))
    # Pollaczek and Khinchine: the wait is load x service / (2 (1 - load)).
    assert seen.mean_ms == pytest.approx(service_ms * (1 + load / (2 * (1 - load))), rel=0.04)
    assert seen.busy == pytest.approx(load, rel=0.02)
    assert seen.padding == 0


@pytest.mark.parametrize(("gear", "rate_per_ms"), [(4, 0.8), (8, 1.5)])
def test_one_gear_of_many_rows_is_a_bulk_queue(gear, rate_per_ms):
    ms = 4.0
    seen = simulate([table({gear: ms})], Fixed(), poisson(rate_per_ms * 1e3, 25, seed=5))
    assert seen.mean_ms == pytest.approx(bulk_latency_ms(gear, ms, rate_per_ms), rel=0.03)


def bulk_latency_ms(gear, ms, rate_per_ms):
    """Mean latency where up to `gear` rows are served together, at once when some are there, none joining later.

    The number of rows that a batch leaves behind is a Markov chain; by Little's law the mean number there over time,
    divided by the rate, is the mean latency.
    """
    states = 200
    chances = np.zeros(states)
    logs = np.arange(states) * np.log(rate_per_ms * ms) - rate_per_ms * ms
    chances = np.exp(logs - np.cumsum(np.log(np.maximum(1, np.arange(states)))))
    moves = np.zeros((states, states))
    for rows in range(states):
        left = max(0, max(rows, 1) - gear)
        moves[rows, left:] = chances[: states - left]
        moves[rows, -1] += 1 - moves[rows].sum()
    share = np.full(states, 1 / states)
    for _ in range(3000):
        share = share @ moves
    rows = np.maximum(1, np.arange(states))
    there = rows * ms + rate_per_ms * ms**2 / 2
    lasts = ms + (np.arange(states) == 0) / rate_per_ms
    return (share @ there) / (share @ lasts) / rate_per_ms


# --- the figures of the study (facts: batching policy §4), simulated without this planner --------------------------


@pytest.mark.parametrize(
    ("rate", "mean_ms", "p99_ms"), [(100, 1.4, 3.2), (600, 2.6, 6.3), (1000, 4.5, 12.1), (1600, 11.2, 17.7)]
)
def test_rounding_up_has_the_figures_of_the_study(rate, mean_ms, p99_ms):
    seen = simulate([PICTURES], PadUp(), poisson(rate, 15, seed=11))
    assert seen.mean_ms == pytest.approx(mean_ms, rel=0.06)
    assert seen.percentile_ms(0.99) == pytest.approx(p99_ms, rel=0.12)


@pytest.mark.parametrize(
    ("arrivals", "mean", "p99"),
    [
        (poisson(1000, 20, seed=1), 0.79, 0.58),
        (poisson(1600, 20, seed=2), 0.57, 0.84),
        (bursts(200, 1800, 0.5, 16, seed=3), 0.73, 0.94),
        (bursts(600, 1400, 1.0, 16, seed=4), 0.61, 0.61),
    ],
    ids=["1000/s", "1600/s", "200-1800/s", "600-1400/s"],
)
def test_optimal_over_rounding_up_has_the_ratios_of_the_study(arrivals, mean, p99):
    base = simulate([PICTURES], PadUp(), arrivals)
    best = simulate([PICTURES], Optimal(), arrivals)
    assert best.mean_ms / base.mean_ms == pytest.approx(mean, rel=0.05)
    assert best.percentile_ms(0.99) / base.percentile_ms(0.99) == pytest.approx(p99, rel=0.08)


@pytest.mark.parametrize(
    ("rate", "mean_ms", "p99_ms"), [(600, 2.35, 5.0), (1200, 4.11, 8.3), (1400, 4.91, 9.9)]
)
def test_optimal_has_the_figures_of_the_study(rate, mean_ms, p99_ms):
    seen = simulate([PICTURES], Optimal(), poisson(rate, 15, seed=6))
    assert seen.mean_ms == pytest.approx(mean_ms, rel=0.05)
    assert seen.percentile_ms(0.99) == pytest.approx(p99_ms, rel=0.1)


@pytest.mark.parametrize(
    ("clients", "rounding_up", "optimal"), [(5, 1136, 1538), (9, 1125, 1818), (12, 1500, 1818)]
)
def test_closed_loops_have_the_figures_of_the_study(clients, rounding_up, optimal):
    assert simulate_clients([PICTURES], PadUp(), clients, 2).rows_per_s == pytest.approx(
        rounding_up, rel=0.01
    )
    assert simulate_clients([PICTURES], Optimal(), clients, 2).rows_per_s == pytest.approx(optimal, rel=0.01)


def test_a_weighted_tail_lowers_the_tail_where_the_mean_has_left_room():
    # Few gears far apart: the mean gains by emptying the queue in the middle, which some rows pay for.
    coarse = table({1: 4.6, 8: 8.8, 32: 23.2})
    arrivals = poisson(0.9 * 32 / 23.2 * 1e3, 40, seed=5)
    mean = simulate([coarse], Optimal(), arrivals)
    slo_ms = 0.9 * mean.percentile_ms(0.99)
    tail = simulate([coarse], Optimal(objective="tail", slo_ms=slo_ms), arrivals)
    assert tail.percentile_ms(0.99) < mean.percentile_ms(0.99)
    assert tail.good(slo_ms) > mean.good(slo_ms) + 0.002
    assert tail.mean_ms < 1.01 * mean.mean_ms


# --- the device ----------------------------------------------------------------------------------------------------


def test_a_row_alone_takes_all_stages_and_the_host():
    seen = simulate([staged(1, 1.0, 2.0, 0.5)], PadUp(), [Arrival(0.5)], settings=Settings(host=Host(0.25)))
    assert seen.latencies_ms == pytest.approx([3.75])
    assert seen.seconds == pytest.approx(0.50375)
    assert seen.compute_ms == pytest.approx(2.0)


def test_rows_that_come_while_the_device_runs_go_together():
    seen = simulate([PICTURES], PadUp(), [Arrival(0.0), Arrival(0.0005), Arrival(0.001)])
    assert seen.batches == {(0, 1): 1, (0, 4): 1}
    assert seen.latencies_ms == pytest.approx([1.3, 0.8 + 2.6, 0.3 + 2.6])
    assert seen.busy == pytest.approx(1.0)
    assert seen.padding == pytest.approx(2 / 5)


def test_three_equal_stages_overlap_where_there_are_slots_for_them():
    equal = staged(4, 1.0, 1.0, 1.0)
    rates = [
        simulate_clients([equal], PadUp(), 64, 1.0, settings=Settings(slots=slots)).rows_per_s
        for slots in (1, 2, 3)
    ]
    assert rates == pytest.approx([4000 / 3, 4000 * 2 / 3, 4000], rel=0.02)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 0.05), st.integers(1, 40)), min_size=1, max_size=40).map(sorted),
    st.sampled_from([PadUp(), Fixed(), Fixed(4), Optimal(), policy_named("fixed_wait", wait_ms=2)]),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_whatever_comes_everything_is_answered_and_no_engine_does_two_things(trace, policy, slots, devices):
    copied = CostTable(PICTURES.gears, PICTURES.ms, (0.1, 0.4, 0.8, 1.6), (0.1, 0.1, 0.2, 0.3))
    seen = simulate(
        [copied],
        policy,
        [Arrival(at, rows) for at, rows in trace],
        devices=devices,
        settings=Settings(slots=slots),
        timeline=True,
    )
    assert len(seen.latencies_ms) == len(trace)
    assert seen.answered_rows == seen.batch_rows == sum(rows for _, rows in trace)
    assert sum(seen.batches.values()) == len(seen.timeline)
    assert 0 < seen.busy <= 1 + 1e-9
    assert 0 <= seen.padding < 1
    for device in range(devices):
        ran = [one for one in seen.timeline if one.device == device]
        for before, after in pairwise(ran):
            at = copied.gears.sizes.index(before.gear)
            assert after.copy_in_at >= before.copy_in_at + copied.copy_in_ms[at] / 1e3 - 1e-9
            assert after.compute_at >= before.compute_at + copied.ms[at] / 1e3 - 1e-9
            assert after.copy_out_at >= before.copy_out_at + copied.copy_out_ms[at] / 1e3 - 1e-9
        for one in ran:
            assert one.sealed_at <= one.copy_in_at <= one.compute_at <= one.copy_out_at <= one.done_at


def test_devices_share_a_load_by_rows():
    arrivals = [Arrival(0.0, rows) for rows in (16, 1, 1, 1)]
    seen = simulate([PICTURES], PadUp(), arrivals, devices=2, timeline=True)
    assert sorted((one.device, one.rows) for one in seen.timeline) == [(0, 16), (1, 3)]


def test_more_devices_answer_faster():
    arrivals = poisson(3000, 5, seed=8)
    means = [simulate([PICTURES], Optimal(), arrivals, devices=n).mean_ms for n in (2, 3, 4)]
    assert means == sorted(means, reverse=True)


# --- what is not answered ------------------------------------------------------------------------------------------


def test_what_finds_no_room_is_refused():
    seen = simulate([PICTURES], PadUp(), [Arrival(0.0)] * 20, settings=Settings(max_queued_rows=8))
    assert (seen.offered, seen.refused, len(seen.latencies_ms)) == (20, 12, 8)
    assert seen.good() == pytest.approx(8 / 20)


def test_deadlines_that_cannot_be_met_are_refused_and_count_as_bad():
    seen = simulate([PICTURES], PadUp(), [Arrival(0.0, deadline=0.001), Arrival(0.0, deadline=0.1)])
    assert (seen.refused, len(seen.latencies_ms), seen.late) == (1, 1, 0)
    assert seen.good() == 0.5


def test_callers_who_leave_before_they_are_served_take_no_device_time():
    seen = simulate([PICTURES], PadUp(), [Arrival(0.0), Arrival(0.0001, leaves=0.0005), Arrival(0.0002)])
    assert (seen.cancelled, seen.batch_rows) == (1, 2)
    assert seen.good(10.0) == 1.0


def test_a_deferred_batch_waits_for_its_deadline():
    arrivals = [Arrival(0.0, deadline=0.05), Arrival(0.01, deadline=0.06)]
    seen = simulate([PICTURES], PadUp(), arrivals, settings=Settings(deferred=True), timeline=True)
    assert len(seen.timeline) == 1
    assert seen.timeline[0].rows == 2
    assert seen.late == 0
    assert seen.timeline[0].sealed_at > 0.03


def test_nothing_gives_no_figures():
    seen = simulate([PICTURES], PadUp(), [])
    assert (seen.seconds, seen.busy, seen.padding, seen.rows_per_s, seen.goodput_per_s(5.0)) == (
        0,
        0,
        0,
        0,
        0,
    )
    assert np.isnan([seen.mean_ms, seen.percentile_ms(0.5), seen.good(1.0)]).all()


def test_percentiles_are_of_what_was_seen():
    outcome = Outcome(latencies_ms=[float(n) for n in range(1, 101)], offered=100)
    assert [outcome.percentile_ms(share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 50.0, 99.0, 100.0]


def test_there_is_at_least_one_device():
    with pytest.raises(ConfigError, match="0 devices"):
        simulate([PICTURES], PadUp(), [Arrival(0.0)], devices=0)


def test_arrivals_in_a_bucket_that_there_is_not_are_refused():
    with pytest.raises(ConfigError, match=r"the arrival at 0\.5 s fits buckets \[0, 1\], but there are 1"):
        simulate([PICTURES], PadUp(), [Arrival(0.0), Arrival(0.5, fits=(0, 1))])
