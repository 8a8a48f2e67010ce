"""Who goes first: levels of priority, patience, and large tickets among small ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.planner import PATIENCE_S, STEP_S, Batch, Planner, Ticket
from ascend_serve.batching.policy import PadUp
from ascend_serve.errors import RequestError
from ascend_serve.spec.gears import Gears

pytestmark = pytest.mark.unit

COSTS = {1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0}


def planner(*, levels: int = 1, slots: int = 1) -> Planner:
    table = CostTable.of(Gears.of(COSTS), COSTS)
    return Planner([table], PadUp(), slots=slots, max_queued_rows=10_000, priority_levels=levels)


def run(machine: Planner, now: float = 0.0) -> Batch:
    """Seal the next batch and let it come back."""
    batch = machine.plan(now)
    assert batch is not None
    machine.finished(now, batch)
    machine.check()
    return batch


def tickets(batch: Batch) -> list[Ticket]:
    return [piece.ticket for piece in batch.pieces]


def sizes(batch: Batch) -> list[int]:
    return [piece.rows for piece in batch.pieces]


# --- levels --------------------------------------------------------------------------------------


def test_the_more_urgent_level_goes_first() -> None:
    machine = planner(levels=3)
    low, middle, high = (machine.offer(0.0, 1, priority=priority) for priority in (3, None, 1))
    assert tickets(run(machine)) == [high, middle, low]


def test_a_level_comes_before_a_deadline_of_the_level_below() -> None:
    machine = planner(levels=2)
    low = machine.offer(0.0, 1, priority=2, deadline=0.05)
    high = machine.offer(0.0, 1, priority=1)
    assert tickets(run(machine)) == [high, low]


def test_within_a_level_the_earlier_deadline_goes_first() -> None:
    machine = planner()
    far, near, none = (machine.offer(0.0, 1, deadline=deadline) for deadline in (0.5, 0.1, None))
    assert tickets(run(machine)) == [near, far, none]


def test_equals_go_by_their_offers() -> None:
    machine = planner()
    offered = [machine.offer(0.0, 1, deadline=0.1) for _ in range(5)]
    assert tickets(run(machine)) == offered


@pytest.mark.parametrize(("levels", "middle"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_who_names_no_level_is_in_the_middle(levels: int, middle: int) -> None:
    assert planner(levels=levels).offer(0.0, 1).priority == middle


@pytest.mark.parametrize("priority", [0, 4, -1])
def test_a_level_that_there_is_not_is_refused(priority: int) -> None:
    with pytest.raises(RequestError, match=rf"priority {priority}: this model has 3 levels; 1 is the most"):
        planner(levels=3).offer(0.0, 1, priority=priority)


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(1, 4), st.none() | st.floats(0.05, 20.0)), min_size=1, max_size=3),
    st.data(),
)
def test_nobody_is_passed_for_longer_than_patience_and_the_steps(
    levels: int, newcomers: list[tuple[int, float | None]], data: st.DataObject
) -> None:
    """The most patient ticket, in an overload of the most urgent ones: the bound of the module's words."""
    machine = planner(levels=levels)
    level = data.draw(st.integers(1, levels))
    deadline = data.draw(st.none() | st.floats(30.0, 60.0))
    patient = machine.offer(0.0, 1, priority=level, deadline=deadline)
    bound = PATIENCE_S + (level - 1) * STEP_S
    now, batches = 0.0, 0
    while not patient.ended:
        # Twice what the device can do.
        for turn in range(32):
            priority, within = newcomers[turn % len(newcomers)]
            asked = None if within is None else now + within
            machine.offer(now, 1, priority=min(priority, levels), deadline=asked)
        batch = machine.plan(now)
        assert batch is not None
        for ticket in tickets(batch):
            assert patient in tickets(batch) or ticket.offered_at <= bound, "nobody later goes before it"
        machine.finished(now, batch)
        now += 0.25
        batches += 1
        for ticket in list(machine._waiting):
            if ticket is not patient and ticket.offered_at <= now - 0.5:
                machine.cancel(ticket)
    # Four batches a second, and those who came before the bound and are still there after it.
    assert batches <= 4 * bound + 8


# --- large tickets -------------------------------------------------------------------------------


def test_a_large_ticket_is_split_and_small_ones_share_its_batches() -> None:
    machine = planner()
    for rows in (3, 40, 2):
        machine.offer(0.0, rows)
    batches = [run(machine) for _ in range(3)]
    assert [sizes(batch) for batch in batches] == [[3, 2, 11], [16], [13]]
    assert [piece.start for batch in batches for piece in batch.pieces] == [0, 0, 0, 11, 27]
    assert [piece.at for batch in batches for piece in batch.pieces] == [0, 3, 5, 0, 0]


def test_a_large_ticket_holds_up_small_ones_for_one_batch() -> None:
    machine = planner()
    large = machine.offer(0.0, 100)
    small = [machine.offer(0.0, 1) for _ in range(4)]
    assert tickets(run(machine)) == [large]
    second = run(machine)
    assert tickets(second) == [*small, large]
    assert sizes(second) == [1, 1, 1, 1, 12]


def test_small_ones_do_not_starve_a_large_ticket() -> None:
    machine = planner()
    large = machine.offer(0.0, 33)
    led = []
    while not large.ended:
        for _ in range(20):
            machine.offer(0.0, 1)
        led.append(tickets(run(machine))[0] is large)
    assert led == [True, False, True, False, True]


def test_several_large_tickets_hold_up_small_ones_for_one_batch_at_a_time() -> None:
    machine = planner()
    large = [machine.offer(0.0, 64) for _ in range(3)]
    order = []
    while not all(ticket.ended for ticket in large):
        for _ in range(16):
            machine.offer(0.0, 1)
        leader = tickets(run(machine))[0]
        order.append(large.index(leader) if leader in large else None)
    assert order == [n for index in range(3) for _ in range(4) for n in (index, None)][:-1]


def test_a_large_ticket_takes_no_turn_before_a_more_urgent_level() -> None:
    machine = planner(levels=3)
    for _ in range(3):
        machine.offer(0.0, 5, priority=1)
    large = machine.offer(0.0, 128, priority=3)
    small = [machine.offer(0.001, 4, priority=1) for _ in range(8)]
    assert large in tickets(run(machine, 0.002)), "it has the room that is left"
    assert tickets(run(machine, 0.010)) == small[:4]
    assert tickets(run(machine, 0.018)) == small[4:], "it would be the turn of the large one"
    assert tickets(run(machine, 0.026)) == [large]


def test_a_large_ticket_takes_its_turn_before_the_same_level_and_when_it_is_past_due() -> None:
    for level, now in ((1, 0.002), (3, PATIENCE_S + 2 * STEP_S)):
        machine = planner(levels=3)
        large = machine.offer(0.0, 40, priority=level)
        led = []
        while not large.ended:
            for _ in range(16):
                machine.offer(now, 1, priority=1)
            led.append(tickets(run(machine, now))[0] is large)
            now += 0.008
        assert led == [True, False, True, False, True], level


@given(st.integers(1, 3), st.integers(17, 60), st.integers(1, 16))
def test_a_large_ticket_is_through_soon_after_it_is_past_due(level: int, rows: int, urgent: int) -> None:
    machine = planner(levels=3)
    large = machine.offer(0.0, rows, priority=level)
    bound = PATIENCE_S + (level - 1) * STEP_S
    now = 0.0
    for _ in range(200):
        for _ in range(-(-16 // urgent)):
            machine.offer(now, urgent, priority=1, deadline=now + 0.1)
        run(machine, now)
        machine.take_expired(now)
        now += 0.05
        if large.ended:
            break
    assert large.ended
    # From the bound on it has room in each batch, or leads the next.
    assert now <= bound + (rows + 4) * 0.05


def test_a_large_ticket_gives_its_turn_back_to_a_small_one_that_would_be_late() -> None:
    machine = planner()
    large = machine.offer(0.0, 128)
    assert tickets(run(machine)) == [large]
    for _ in range(4):
        machine.offer(0.0081, 4)
    assert large not in tickets(run(machine, 0.0082))
    near = machine.offer(0.009, 1, deadline=0.0212)
    assert tickets(run(machine, 0.0162))[0] is near
    assert near.ended
    far = machine.offer(0.0206, 1, deadline=0.5)
    assert tickets(run(machine, 0.0206)) == [far, large], "it had the room that was left: theirs is the turn"
    assert not machine.take_expired(0.03)


def test_a_large_ticket_that_would_be_late_itself_keeps_its_turn() -> None:
    machine = planner()
    large = machine.offer(0.0, 32, deadline=0.0165)
    machine.offer(0.0, 1, deadline=0.0175)
    assert tickets(run(machine)) == [large]


@given(st.lists(st.tuples(st.integers(1, 70), st.integers(0, 3)), max_size=40), st.integers(1, 3))
def test_the_hold_up_is_bounded_whatever_comes(steps: list[tuple[int, int]], slots: int) -> None:
    machine = planner(slots=slots)
    had_large = False
    running: list[Batch] = []
    now = 0.0
    for rows, back in steps:
        now += 0.001
        machine.offer(now, rows)
        small = any(not ticket.large for ticket in machine._waiting)
        if (batch := machine.plan(now)) is not None:
            running.append(batch)
            if had_large and small:
                assert not batch.pieces[0].ticket.large
            had_large = any(ticket.large for ticket in tickets(batch))
        for _ in range(min(back, len(running))):
            machine.finished(now, running.pop(0))
        machine.check()
