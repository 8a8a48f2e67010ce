"""Deadlines: who is refused, who expires, what a batch gives up for them, and what they let wait."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.planner import Batch, Planner, Ticket, TicketState
from ascend_serve.batching.policy import FixedWait, Optimal, PadUp, Policy
from ascend_serve.batching.waiting import STALE
from ascend_serve.errors import DeadlineUnmet
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages, Timing
from tests.unit.patience import Patient

pytestmark = pytest.mark.unit

COSTS: dict[int, float] = {1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0}
TABLE = CostTable.of(Gears.of(COSTS), COSTS)


def planner(
    policy: Policy | None = None, *, slots: int = 2, deferred: bool = False, table: CostTable = TABLE
) -> Planner:
    return Planner([table], policy or PadUp(), slots=slots, max_queued_rows=4000, deferred=deferred)


def offer(machine: Planner, *deadlines_ms: float | None, now: float = 0.0, rows: int = 1) -> list[Ticket]:
    return [machine.offer(now, rows, deadline=None if ms is None else now + ms / 1e3) for ms in deadlines_ms]


def sealed(machine: Planner, now: float = 0.0) -> Batch:
    batch = machine.plan(now)
    assert batch is not None
    return batch


def tickets(batch: Batch) -> list[Ticket]:
    return [piece.ticket for piece in batch.pieces]


# --- refusing ------------------------------------------------------------------------------------


def test_a_deadline_before_the_quickest_gear_is_refused() -> None:
    with pytest.raises(DeadlineUnmet, match=r"1\.2 ms away, but 1\.3 ms are needed: 0\.0 for what runs"):
        offer(planner(), 1.2)
    assert planner().offer(0.0, 1, deadline=0.00131)


def test_a_deadline_that_has_passed_is_refused() -> None:
    with pytest.raises(DeadlineUnmet, match=r"-1\.0 ms away"):
        offer(planner(), -1.0)


def test_what_runs_counts() -> None:
    machine = planner()
    offer(machine, *[None] * 16)
    sealed(machine)
    with pytest.raises(DeadlineUnmet, match=r"9\.3 ms are needed: 8\.0 for what runs"):
        offer(machine, 9.2)
    offer(machine, 9.4)
    assert machine.offer(0.004, 1, deadline=0.0094), "half of it is over by then"


def test_a_batch_that_came_back_sooner_than_expected_counts_no_more() -> None:
    machine = planner()
    offer(machine, *[None] * 16)
    machine.finished(0.0, sealed(machine))
    assert machine.offer(0.001, 1, deadline=0.0024)


def test_what_goes_before_it_counts_at_the_best_rate_and_may_share_its_batch() -> None:
    machine = planner()
    offer(machine, *[15.95] * 31)
    # 32 rows at 16 rows in 8 ms.
    with pytest.raises(DeadlineUnmet, match=r"16\.0 ms are needed.* 15\.5 for what goes before it") as caught:
        offer(machine, 15.95)
    assert caught.value.retry_after_s == pytest.approx(0.0155)


def test_what_goes_after_it_does_not_count() -> None:
    machine = planner()
    offer(machine, *[500.0] * 100)
    (urgent,) = offer(machine, 3.0)
    assert tickets(sealed(machine))[0] is urgent


def test_large_tickets_count_for_nobody_else() -> None:
    machine = planner()
    offer(machine, None, rows=1000)
    offer(machine, 20.0)


def test_priorities_decide_what_goes_before() -> None:
    machine = Planner([TABLE], PadUp(), slots=2, max_queued_rows=4000, priority_levels=2)
    for _ in range(100):
        machine.offer(0.0, 1, priority=2)
    urgent = machine.offer(0.0, 1, deadline=0.01, priority=1)
    assert tickets(sealed(machine))[0] is urgent


# --- expiring ------------------------------------------------------------------------------------


def test_a_ticket_expires_when_no_gear_is_quick_enough_any_more_and_is_told_once() -> None:
    machine = planner(slots=1)
    offer(machine, None)
    sealed(machine)
    late, patient = offer(machine, 5.0, None)
    assert machine.next_wakeup() == pytest.approx(0.0037)
    assert machine.take_expired(0.0036) == []
    assert machine.take_expired(0.004) == [late]
    assert machine.take_expired(0.004) == []
    assert late.state is TicketState.EXPIRED
    assert late.reason == "the deadline is 1.0 ms away, but its rows take at least 1.3 ms"
    assert machine.next_wakeup() is None
    assert machine.queued_tickets == 1
    assert not patient.ended


def test_a_ticket_says_when_its_deadline_is_over() -> None:
    machine = planner(slots=1)
    offer(machine, None)
    sealed(machine)
    (late,) = offer(machine, 5.0)
    machine.take_expired(6.0)
    assert late.reason == "the deadline passed while it waited"


def test_a_ticket_that_runs_no_longer_expires() -> None:
    machine = planner()
    (ticket,) = offer(machine, 5.0)
    batch = sealed(machine)
    assert machine.next_wakeup() is None
    assert machine.take_expired(9.0) == []
    assert machine.finished(0.0, batch) == [ticket]


def test_a_split_ticket_has_the_time_that_its_rest_takes() -> None:
    machine = planner(slots=1)
    (ticket,) = offer(machine, 30.0, rows=40)
    assert machine.next_wakeup() == pytest.approx(0.0096), "40 rows take 8 + 8 + 4.4 ms"
    batch = sealed(machine)
    assert machine.next_wakeup() == pytest.approx(0.0176), "24 rows are left"
    assert machine.take_expired(0.0175) == []
    assert machine.take_expired(0.0177) == [ticket]
    assert machine.finished(0.0, batch) == []
    assert machine.queued_rows == 0


def test_a_ticket_that_the_batch_before_it_makes_late_is_dropped() -> None:
    # A level above goes first, and takes too long for it.
    machine = Planner([TABLE], PadUp(), slots=1, max_queued_rows=100, priority_levels=2)
    leader = machine.offer(0.0, 16, priority=1)
    late = machine.offer(0.0, 1, priority=2, deadline=0.009)
    batch = sealed(machine)
    assert tickets(batch) == [leader]
    assert machine.take_expired(0.0) == []
    machine.finished(0.0079, batch)
    assert machine.plan(0.0079) is None
    assert machine.take_expired(0.0079) == [late]


def test_alarms_of_tickets_long_gone_do_not_pile_up() -> None:
    machine = planner()
    for _ in range(20 * STALE):
        for ticket in offer(machine, 1e9, None):
            machine.cancel(ticket)
    waiting = machine._waiting
    assert len(waiting._alarms) <= STALE + 2
    assert len(waiting._by_age) <= STALE + 2
    assert sum(len(line) for line in waiting.lines) <= STALE + 2
    offer(machine, 7.0)
    assert machine.next_wakeup() == pytest.approx(0.0057)


# --- what a batch gives up -----------------------------------------------------------------------


def test_a_gear_that_breaks_a_deadline_steps_down() -> None:
    machine = planner()
    offer(machine, 5.0, *[None] * 8)
    batch = sealed(machine)
    assert (batch.gear, batch.rows) == (8, 8), "nine rows would run at gear 16, for 8 ms"


def test_the_larger_gear_is_kept_where_the_deadline_allows_it() -> None:
    machine = planner()
    offer(machine, 8.1, *[None] * 8)
    assert sealed(machine).gear == 16


def test_in_a_crowd_an_urgent_ticket_is_met_while_the_others_have_time() -> None:
    machine = planner()
    urgent = offer(machine, 1.5)
    others = offer(machine, *[500.0] * 40)
    batch = sealed(machine)
    assert (batch.gear, tickets(batch)) == (1, urgent)
    machine.finished(0.0013, batch)
    assert tickets(sealed(machine, 0.0013)) == others[:16]


def test_in_a_crowd_a_ticket_that_would_make_others_late_is_given_up() -> None:
    # At gear 1 it would be in time, but the next 15 would come back after 1.3 + 8 ms.
    machine = planner()
    (late,) = offer(machine, 1.5)
    others = offer(machine, *[9.0] * 16)
    batch = sealed(machine)
    assert (batch.gear, tickets(batch)) == (16, others)
    assert machine.take_expired(0.0) == [late]
    assert late.reason == "the deadline is 1.5 ms away, but the batch it would run in is back in 8.0 ms"


def test_who_has_no_room_in_the_smaller_batch_runs_at_a_gear_of_its_own_after_it() -> None:
    machine = Planner([TABLE], PadUp(), slots=1, max_queued_rows=100, priority_levels=2)
    urgent = machine.offer(0.0, 1, deadline=0.005, priority=1)
    for _ in range(7):
        machine.offer(0.0, 1, priority=1)
    last = machine.offer(0.0, 1, deadline=0.0085, priority=2)
    # Gear 8 is back after 4.4 ms, and the last one 1.3 ms later; all nine at gear 16 after 8 ms.
    batch = sealed(machine)
    assert (batch.gear, urgent in tickets(batch), last.ended) == (8, True, False)


def test_early_sealing_reckons_with_what_runs() -> None:
    machine = planner()
    offer(machine, *[None] * 16)
    sealed(machine)
    soon = offer(machine, *[12.5] * 8)
    offer(machine, *[None] * 8)
    batch = sealed(machine)
    assert (batch.gear, tickets(batch)) == (8, soon), "8 ms for what runs and 4.4 ms for gear 8"


def test_copies_count() -> None:
    stages = {gear: Timing(Stages(1.0, ms, 0.5), 0.0, 1) for gear, ms in COSTS.items()}
    machine = planner(table=CostTable.of(Gears.of(COSTS), stages))
    with pytest.raises(DeadlineUnmet, match=r"2\.8 ms are needed"):
        offer(machine, 2.7)
    offer(machine, 6.0, *[None] * 8)
    assert sealed(machine).gear == 8
    # The next one copies in while this one computes until 5.4 ms, and is back 1.3 + 0.5 ms later.
    with pytest.raises(DeadlineUnmet, match=r"7\.2 ms are needed"):
        offer(machine, 7.1)
    offer(machine, 7.25)


# --- deferring -----------------------------------------------------------------------------------


def test_a_deferred_batch_waits_until_its_deadline_leaves_no_time_for_one_row_more() -> None:
    machine = planner(deferred=True)
    offer(machine, *[50.0] * 4)
    assert machine.plan(0.0) is None
    # One row more would need gear 8: 50 - 4.4, and a millisecond for the timer.
    wakeup = machine.next_wakeup()
    assert wakeup is not None
    assert wakeup == pytest.approx(0.0446)
    assert machine.plan(0.044) is None
    batch = sealed(machine, wakeup)
    assert (batch.gear, batch.rows) == (4, 4)
    assert machine.take_expired(wakeup) == []


def test_a_deferred_batch_that_fills_the_best_gear_goes_at_once() -> None:
    machine = planner(deferred=True)
    offer(machine, *[50.0] * 15)
    assert machine.plan(0.0) is None
    offer(machine, 50.0)
    assert sealed(machine).rows == 16


@pytest.mark.parametrize("deadlines_ms", [[None], [None, 50.0], [50.0, None, 50.0]])
def test_who_has_no_deadline_is_not_made_to_wait(deadlines_ms: list[float | None]) -> None:
    machine = planner(deferred=True)
    offer(machine, *deadlines_ms)
    assert sealed(machine).rows == len(deadlines_ms)


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(10, 80)), min_size=1, max_size=30))
def test_deferring_breaks_no_deadline_that_it_could_have_met(arrivals: list[tuple[float, float]]) -> None:
    """A timer that rings at once, and a device that takes what its table says."""
    machine = planner(deferred=True, slots=1)
    events = sorted((gap, within) for gap, within in arrivals)
    now, free_at = 0.0, 0.0
    running: Batch | None = None
    done: list[tuple[Ticket, float]] = []
    while events or running or machine.queued_rows:
        wakeup = machine.next_wakeup()
        times = [events[0][0] / 1e3] if events else []
        times += [free_at] if running else []
        times += [wakeup] if wakeup is not None else []
        now = max(now, min(times))
        if running and free_at <= now:
            done += [(ticket, now) for ticket in machine.finished(now, running)]
            running = None
        while events and events[0][0] / 1e3 <= now:
            machine.offer(now, 1, deadline=now + events.pop(0)[1] / 1e3)
        if (batch := machine.plan(now)) is not None:
            running, free_at = batch, now + TABLE.total_ms_of(batch.gear) / 1e3
        machine.check()
    assert all(at <= (ticket.deadline or 0) + 1e-9 for ticket, at in done)


def test_a_policy_that_closes_batches_is_not_deferred() -> None:
    machine = planner(FixedWait(wait_ms=2.0), deferred=True)
    offer(machine, 50.0)
    assert machine.plan(0.0) is None
    assert machine.next_wakeup() == pytest.approx(0.002)
    assert sealed(machine, 0.002).rows == 1


# --- in an overload ------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_per_ms", [2.4, 4.0])
def test_in_an_overload_the_device_still_runs_in_time_nearly_all_that_it_can(rate_per_ms: float) -> None:
    """To step down for every late head would run small gears only, and answer half as many in time."""
    machine = planner(slots=1)
    seconds, within_s = 2.0, 0.02
    arrivals = [at / rate_per_ms / 1e3 for at in range(int(seconds * 1e3 * rate_per_ms))]
    running: Batch | None = None
    free_at = 0.0
    good = late = coming = 0
    while coming < len(arrivals) or running:
        if running and (coming == len(arrivals) or free_at <= arrivals[coming]):
            now = free_at
            ended = machine.finished(now, running)
            good += sum(now <= (ticket.deadline or 0) + 1e-9 for ticket in ended)
            late += len(ended)
            running = None
        else:
            now = arrivals[coming]
            coming += 1
            with suppress(DeadlineUnmet):
                machine.offer(now, 1, deadline=now + within_s)
        if (batch := machine.plan(now)) is not None:
            running, free_at = batch, now + TABLE.total_ms_of(batch.gear) / 1e3
    assert late == good, "what runs is in time"
    assert good >= 0.95 * 2000 * seconds


# --- an idle device lets no deadline pass --------------------------------------------------------


def test_a_deferred_batch_does_not_make_a_ticket_of_other_shapes_expire() -> None:
    slower = CostTable.of(Gears.of(COSTS), {gear: 1.5 * ms for gear, ms in COSTS.items()})
    machine = Planner([TABLE, slower], PadUp(), slots=2, max_queued_rows=100, deferred=True)
    machine.offer(0.0, 1, fits=(0,), deadline=10.0)
    assert machine.plan(0.0) is None
    # Due later than the first, for that is due after its patience; but it must start sooner.
    near = machine.offer(0.5, 1, fits=(1,), deadline=1.4)
    assert machine.plan(0.5) is None
    batch = None
    while batch is None:  # the first may be earlier than there is need
        wakeup = machine.next_wakeup()
        assert wakeup is not None
        batch = machine.plan(wakeup)
    assert tickets(batch) == [near]


def test_deferred_batches_of_other_shapes_leave_each_other_time() -> None:
    machine = Planner([TABLE, TABLE], PadUp(), slots=1, max_queued_rows=100, deferred=True)
    offered = [machine.offer(0.0, 1, fits=(bucket,), deadline=0.1) for bucket in (0, 1)]
    assert machine.plan(0.0) is None
    wakeup = machine.next_wakeup()
    assert wakeup is not None
    first = sealed(machine, wakeup)
    machine.finished(wakeup + 0.0026, first)
    # As if it had run at the gear with room for one more, which is what it had to reckon with.
    second = sealed(machine, wakeup + 0.0026)
    assert [*tickets(first), *tickets(second)] == offered


def test_a_deferred_batch_leaves_the_host_its_time() -> None:
    machine = Planner([replace(TABLE, host_ms=2.0)], PadUp(), slots=1, max_queued_rows=100, deferred=True)
    machine.offer(0.0, 1, deadline=0.1)
    assert machine.plan(0.0) is None
    # 2.6 ms at the gear with room for one more, 2 of the host, and 1 for a timer that rings late.
    assert machine.next_wakeup() == pytest.approx(0.1 - 0.0056)


def test_a_full_batch_of_other_shapes_is_not_deferred() -> None:
    machine = Planner([TABLE, TABLE], PadUp(), slots=2, max_queued_rows=100, deferred=True)
    machine.offer(0.0, 1, fits=(0,), deadline=0.5)
    full = [machine.offer(0.0, 1, fits=(1,), deadline=0.6) for _ in range(16)]
    assert tickets(sealed(machine)) == full
    tight = Planner([TABLE, TABLE], PadUp(), slots=2, max_queued_rows=100, deferred=True)
    near = tight.offer(0.0, 1, fits=(0,), deadline=0.009)
    for _ in range(16):
        tight.offer(0.0, 1, fits=(1,), deadline=0.6)
    assert tickets(sealed(tight)) == [near], "it would be late after the full one"


@pytest.mark.parametrize("policy", [FixedWait(wait_ms=300.0), Patient()])
def test_a_policy_that_waits_on_an_idle_device_lets_no_deadline_pass(policy: Policy) -> None:
    machine = planner(policy)
    (ticket,) = offer(machine, 50.0)
    now, batch = 0.0, machine.plan(0.0)
    while batch is None:
        assert not machine.take_expired(now)
        wakeup = machine.next_wakeup()
        assert wakeup is not None
        assert wakeup > now
        now = wakeup
        batch = machine.plan(now)
    assert tickets(batch) == [ticket]


@pytest.mark.parametrize(("policy", "deferred"), [(PadUp(), True), (FixedWait(wait_ms=5000.0), False)])
def test_nothing_waits_for_more_while_the_replica_drains(policy: Policy, deferred: bool) -> None:
    machine = planner(policy, deferred=deferred)
    (ticket,) = offer(machine, 60_000.0)
    assert machine.plan(0.0) is None
    machine.drain()
    machine.retune([TABLE], policy)
    assert tickets(sealed(machine)) == [ticket]
    assert machine.next_wakeup() is None


def test_a_policy_that_may_wait_does_not_while_the_replica_drains() -> None:
    table = CostTable.of(Gears((1, 16)), {1: 7.9, 16: 8.0})
    policy = Optimal(may_wait=True).prepared([table])
    machine = planner(policy, table=table)
    for number in range(200):
        machine.finished(number * 0.001, sealed_after(machine, number * 0.001))
    (ticket,) = offer(machine, None, now=0.2)
    assert machine.plan(0.2) is None, "else this test shows nothing"
    machine.drain()
    assert tickets(sealed(machine, 0.2)) == [ticket]


def sealed_after(machine: Planner, now: float) -> Batch:
    """A batch of what comes at once, more than any policy waits for."""
    offer(machine, *[None] * 16, now=now)
    return sealed(machine, now)
