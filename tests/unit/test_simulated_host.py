"""The host around a simulated device: what is measured of it, and what it does to latencies."""

from dataclasses import replace
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.policy import Fixed, PadUp, policy_named
from ascend_serve.batching.refining import HOST_STEP_MS, CostBook
from ascend_serve.errors import ConfigError
from ascend_serve.simulating.host import SWING, Host, HostRun, host_of
from ascend_serve.simulating.simulation import Settings, simulate, simulate_clients
from ascend_serve.simulating.traces import Arrival, poisson
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages, Timing

pytestmark = pytest.mark.unit

TIMES = {1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0}
PICTURES = CostTable.of(Gears.of(TIMES), TIMES)
FACTORS = (0.5, 0.6, 0.7, 0.7, 0.8, 0.8, 0.9, 0.9, 0.9, 1.0, 1.0, 1.0, 1.1, 1.1, 1.2, 1.2, 1.3, 1.4, 1.6, 3.0)
SWINGING = Host(0.6, 0.05, FACTORS, timer_ms=1.0)


def alone(host: Host, rows: int = 1, **settings):
    """Latencies of rows that come together to an idle device."""
    return simulate(
        [PICTURES], PadUp(), [Arrival(0.0)] * rows, settings=Settings(host=host, **settings)
    ).latencies_ms


# --- what is measured ------------------------------------------------------------------------------------------------


@given(
    st.floats(0.05, 5.0),
    st.floats(0.0, 0.5),
    st.lists(st.integers(1, 32), min_size=2, max_size=60),
)
def test_a_host_that_does_not_swing_is_found_again(fixed_ms, row_ms, sizes):
    host = host_of([HostRun(rows, fixed_ms + row_ms * rows) for rows in sizes])
    for rows in sizes:
        assert host.fixed_ms + host.row_ms * rows == pytest.approx(fixed_ms + row_ms * rows)
    assert host.spread == pytest.approx((1.0,) * len(sizes))
    if len(set(sizes)) > 1:
        assert host.row_ms == pytest.approx(row_ms, abs=1e-9)


def test_a_swinging_host_is_found_again_with_its_spread():
    chance = Random(7)
    runs = [
        HostRun(rows, sum(SWINGING.draw_s(chance, rows)) * 1e3)
        for rows in (chance.randint(1, 16) for _ in range(4000))
    ]
    found = host_of(runs)
    assert found.fixed_ms + 4 * found.row_ms == pytest.approx(0.8, rel=0.15)
    assert fmean(ms for _, ms in runs) == pytest.approx(
        fmean(found.spread) * fmean(found.fixed_ms + found.row_ms * rows for rows, _ in runs), rel=0.02
    )
    assert max(found.spread) / found.spread[len(runs) // 2] == pytest.approx(3.0, rel=0.15)


def test_one_hiccup_is_a_swing_as_far_as_swings_go_and_a_stall_beyond():
    host = host_of([HostRun(rows, 0.5 + 0.1 * rows) for rows in (1, 4, 8, 16)] * 5 + [HostRun(16, 80.0)])
    assert (host.fixed_ms, host.row_ms) == pytest.approx((0.5, 0.1))
    assert host.spread[-2:] == pytest.approx((1.0, SWING))
    assert host.stalls_ms[-2:] == pytest.approx((0.0, 80 - SWING * 2.1))


def test_stalls_add_the_same_to_batches_of_any_size():
    stalls = [HostRun(rows, 0.5 + 0.1 * rows + 20.0 * (turn == 9)) for rows in (1, 16) for turn in range(10)]
    host = host_of(stalls)
    chance = Random(3)
    for rows in (1, 16):
        mean_ms = fmean(sum(host.draw_s(chance, rows)) * 1e3 for _ in range(20_000))
        usual_ms = 0.5 + 0.1 * rows
        told_ms = fmean(host.spread) * usual_ms + fmean(host.stalls_ms)
        assert mean_ms == pytest.approx(told_ms, rel=0.05)
        assert mean_ms == pytest.approx(usual_ms + 2.0, rel=0.2)


def test_what_swings_alike_has_no_stalls():
    assert host_of([HostRun(1, 1.0), HostRun(1, 3.9), HostRun(1, 1.0)]).stalls_ms == (0.0,)


def test_batches_of_one_size_tell_nothing_of_rows():
    assert host_of([HostRun(4, 0.8), HostRun(4, 1.0), HostRun(4, 1.2)]).row_ms == 0


def test_more_rows_never_cost_less_and_the_fixed_part_is_never_negative():
    assert host_of([HostRun(1, 2.0), HostRun(16, 1.0)]).row_ms == 0
    steep = host_of([HostRun(1, 0.1), HostRun(2, 5.0), HostRun(2, 5.0)])
    assert (steep.fixed_ms, steep.row_ms) == pytest.approx((0.0, 2.5))


def test_no_runs_are_a_host_that_takes_nothing():
    assert host_of([], door_ms=0.5) == Host(door_ms=0.5, timer_ms=1.0)
    assert host_of([HostRun(1, -0.1)]).spread == (1.0,)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"spread": ()}, "no factor"),
        ({"fixed_ms": -1.0}, "fixed_ms is -1.0"),
        ({"timer_ms": float("inf")}, "timer_ms is inf"),
        ({"beside_ms": -0.1}, "beside_ms is -0.1"),
        ({"stalls_ms": ()}, "no time"),
        ({"stalls_ms": (0.0, -1.0)}, "times must be finite"),
        ({"spread": (1.0, float("nan"))}, "factors must be finite"),
    ],
)
def test_what_no_host_can_be_is_refused(wrong, words):
    with pytest.raises(ConfigError, match=words):
        Host(**wrong)


# --- what it does ----------------------------------------------------------------------------------------------------


def test_a_row_alone_takes_device_host_and_door():
    assert alone(Host(0.6, 0.1, (2.0,), door_ms=0.25)) == pytest.approx([1.3 + 2 * 0.7 + 0.25])


def test_a_batch_that_finds_no_other_takes_nothing_for_company():
    assert alone(Host(0.6, beside_ms=5.0)) == pytest.approx([1.3 + 0.6])


def test_a_batch_beside_another_is_launched_later_by_so_much():
    ran = simulate(
        [PICTURES],
        Fixed(16),
        [Arrival(0.0)] * 32,
        settings=Settings(host=Host(0.0, 0.1, beside_ms=0.5)),
        timeline=True,
    ).timeline
    assert [one.copy_in_at for one in ran] == pytest.approx([0.0016, 0.0037])


def test_all_rows_of_a_batch_are_packed_before_it_runs():
    assert alone(Host(0.6, 0.1), rows=4) == pytest.approx([2.6 + 0.6 + 0.4] * 4)


def test_one_thread_packs_one_batch_after_the_other():
    ran = simulate(
        [PICTURES], Fixed(16), [Arrival(0.0)] * 32, settings=Settings(host=Host(0.0, 0.1)), timeline=True
    ).timeline
    assert [one.sealed_at for one in ran] == [0.0, 0.0]
    assert [one.copy_in_at for one in ran] == pytest.approx([0.0016, 0.0032])
    assert ran[1].compute_at == pytest.approx(0.0096)


def test_the_host_of_one_batch_overlaps_the_run_of_another():
    host = Host(1.0, 0.1)
    rates = [
        simulate_clients([PICTURES], PadUp(), 64, 2.0, settings=Settings(slots=slots, host=host)).rows_per_s
        for slots in (1, 2)
    ]
    assert rates == pytest.approx([16 / (8.0 + 1.0 + 1.6) * 1e3, 2000], rel=0.01)


def test_answers_come_in_the_order_of_the_device_whatever_is_drawn():
    seen = simulate(
        [PICTURES],
        policy_named("optimal"),
        poisson(1500, 2, seed=4),
        settings=Settings(host=SWINGING),
        timeline=True,
    )
    known = [one.done_at for one in seen.timeline]
    assert known == sorted(known)
    assert len(seen.latencies_ms) == seen.offered


def test_the_same_seed_draws_the_same_and_another_does_not():
    arrivals = poisson(1000, 2, seed=4)

    def latencies(seed):
        settings = Settings(host=SWINGING, seed=seed)
        return simulate([PICTURES], PadUp(), arrivals, settings=settings).latencies_ms

    assert latencies(1) == latencies(1) != latencies(2)


def test_alarms_ring_at_whole_steps_of_the_timer():
    waits = policy_named("fixed_wait", wait_ms=2.2)

    def waited(timer_ms):
        seen = simulate(
            [PICTURES],
            waits,
            [Arrival(0.0)],
            settings=Settings(host=Host(timer_ms=timer_ms)),
            timeline=True,
        )
        return seen.timeline[0].sealed_at * 1e3

    assert [waited(timer_ms) for timer_ms in (0.0, 1.0, 5.0)] == pytest.approx([2.2, 3.0, 5.0])


def test_whatever_wakes_the_loop_has_a_late_alarm_ring_too():
    waits = policy_named("fixed_wait", wait_ms=2.2)
    seen = simulate(
        [PICTURES],
        waits,
        [Arrival(0.0), Arrival(0.0025)],
        settings=Settings(host=Host(timer_ms=5.0)),
        timeline=True,
    )
    assert seen.timeline[0].sealed_at == pytest.approx(0.0025)


# --- what the planner knows of it ------------------------------------------------------------------------------------


def test_a_planner_goes_by_what_a_replica_would_have_learnt():
    (told,) = Settings(host=SWINGING).used([PICTURES])
    book = CostBook(
        [PICTURES.gears], {(0, gear): Timing(Stages(0.0, ms, 0.0), 0.0, 9) for gear, ms in TIMES.items()}
    )
    for _ in range(20):
        for factor in SWINGING.spread:
            book.update_host(0, 1, 1.3 + factor * (SWINGING.fixed_ms + SWINGING.row_ms), None)
    assert told.host_ms == pytest.approx(book.tables()[0].host_ms, abs=HOST_STEP_MS)


def test_a_table_that_tells_of_the_host_keeps_it():
    (told,) = Settings(host=SWINGING).used([replace(PICTURES, host_ms=0.4)])
    assert told.host_ms == 0.4


@pytest.mark.parametrize(("slots", "overlap"), [(1, False), (2, True)])
def test_stages_overlap_where_slots_and_table_allow_it(slots, overlap):
    settings = Settings(slots=slots)
    assert settings.used([PICTURES])[0].overlap is overlap
    assert settings.used([replace(PICTURES, overlap=False)])[0].overlap is False


@pytest.mark.parametrize("policy", ["pad_up", "optimal"])
def test_a_planner_that_does_not_know_its_host_is_slower(policy):
    arrivals = poisson(1200, 3, seed=2)
    known, unknown = (
        simulate(
            [replace(PICTURES, host_ms=host_ms)],
            policy_named(policy),
            arrivals,
            settings=Settings(host=SWINGING),
        ).mean_ms
        for host_ms in (SWINGING.learnt_ms, 1e-9)
    )
    assert known < 0.9 * unknown
