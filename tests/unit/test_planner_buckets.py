"""Several buckets: who runs with whose shapes, and what that costs."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.grouping import bucket_for
from ascend_serve.batching.planner import Batch, Planner, Ticket
from ascend_serve.batching.policy import FixedWait, PadUp
from ascend_serve.batching.prices import Prices
from ascend_serve.batching.waiting import Line
from ascend_serve.spec.gears import Gears

pytestmark = pytest.mark.unit

GEARS = Gears((1, 4, 8, 16))
SHORT = CostTable(GEARS, (1.0, 2.0, 3.0, 5.0))
LONG = CostTable(GEARS, (2.0, 4.0, 7.0, 13.0))
BOTH = (0, 1)
"""What short rows fit."""


def planner(*tables: CostTable, slots: int = 1) -> Planner:
    return Planner(tables or (SHORT, LONG), PadUp(), slots=slots, max_queued_rows=1000)


def offer(machine: Planner, *sizes: int, fits: tuple[int, ...] = BOTH) -> list[Ticket]:
    return [machine.offer(0.0, rows, fits=fits) for rows in sizes]


def sealed(machine: Planner) -> Batch:
    batch = machine.plan(0.0)
    assert batch is not None
    machine.check()
    return batch


def tickets(batch: Batch) -> list[Ticket]:
    return [piece.ticket for piece in batch.pieces]


def test_rows_of_one_kind_run_in_their_cheapest_shapes() -> None:
    machine = planner()
    offer(machine, 1, 1, 1)
    batch = sealed(machine)
    assert (batch.bucket, batch.gear, batch.rows) == (0, 4, 3)


def test_a_ticket_knows_its_bucket_once_it_runs() -> None:
    machine = planner()
    (ticket,) = offer(machine, 1)
    assert ticket.bucket is None
    sealed(machine)
    assert ticket.bucket == 0


def test_short_rows_join_long_ones_where_that_is_cheaper() -> None:
    machine = planner()
    short, long = offer(machine, 1), offer(machine, 1, 1, 1, fits=(1,))
    # Together 4 ms; apart 1 + 4 ms.
    batch = sealed(machine)
    assert (batch.bucket, batch.gear) == (1, 4)
    assert tickets(batch) == short + long


def test_lines_that_run_together_go_in_one_order() -> None:
    machine = planner()
    offered = [ticket for _ in range(2) for fits in (BOTH, (1,)) for ticket in offer(machine, 1, fits=fits)]
    assert tickets(sealed(machine)) == offered


def test_short_rows_run_apart_where_that_is_cheaper() -> None:
    machine = planner()
    short, long = offer(machine, *[1] * 8), offer(machine, *[1] * 8, fits=(1,))
    # Together 13 ms; apart 3 + 7 ms.
    first = sealed(machine)
    assert (first.bucket, tickets(first)) == (0, short)
    machine.finished(0.0, first)
    second = sealed(machine)
    assert (second.bucket, tickets(second)) == (1, long)


def test_the_head_of_the_order_decides() -> None:
    machine = planner()
    long, short = offer(machine, *[1] * 8, fits=(1,)), offer(machine, *[1] * 8)
    first = sealed(machine)
    assert (first.bucket, tickets(first)) == (1, long)
    machine.finished(0.0, first)
    assert tickets(sealed(machine)) == short


def test_padding_is_filled_from_other_lines_in_their_order() -> None:
    machine = planner()
    long, short = offer(machine, *[1] * 6, fits=(1,)), offer(machine, *[1] * 8)
    # 6 long rows and 8 short ones cost 13 ms together and 7 + 3 ms apart, but two rows of the gear are free.
    first = sealed(machine)
    assert (first.bucket, first.gear, tickets(first)) == (1, 8, long + short[:2])


def test_padding_is_not_filled_with_who_would_be_late() -> None:
    machine = Planner((SHORT, LONG), PadUp(), slots=1, max_queued_rows=100, priority_levels=2)
    long = [machine.offer(0.0, 1, fits=(1,), priority=1) for _ in range(6)]
    soon = machine.offer(0.0, 1, fits=BOTH, priority=2, deadline=0.0065)
    for _ in range(7):
        machine.offer(0.0, 1, fits=BOTH, priority=2)
    first = sealed(machine)
    assert (first.gear, tickets(first)) == (8, long)
    assert not soon.ended


def test_who_would_be_late_with_longer_rows_is_met_by_a_smaller_gear() -> None:
    machine = planner()
    offer(machine, *[1] * 6, fits=(1,))
    soon = machine.offer(0.0, 1, fits=BOTH, deadline=0.006)
    # Together 7 ms, apart 7 + 1 ms: they are together, and gear 4 is back in time.
    first = sealed(machine)
    assert (first.bucket, first.gear, tickets(first)[0]) == (1, 4, soon)


def test_a_ticket_runs_where_it_is_whole() -> None:
    machine = planner(CostTable(Gears((1, 4)), (1.0, 2.0)), LONG)
    (ticket,) = offer(machine, 6)
    assert ticket.fits == (1,)
    batch = sealed(machine)
    assert (batch.bucket, batch.gear, batch.rows) == (1, 8, 6)


def test_a_split_ticket_stays_in_its_bucket() -> None:
    machine = planner(slots=3)
    (large,) = offer(machine, 40)
    first = sealed(machine)
    assert first.bucket == 0
    offer(machine, *[1] * 15, fits=(1,))
    machine.finished(0.0, first)
    seen = []
    while not large.ended:
        batch = sealed(machine)
        seen += [batch.bucket for ticket in tickets(batch) if ticket is large]
        machine.finished(0.0, batch)
    assert set(seen) == {0}


def test_a_large_ticket_in_one_bucket_holds_up_small_ones_of_another_for_one_batch() -> None:
    machine = planner()
    (large,) = offer(machine, 64, fits=(1,))
    led = []
    for _ in range(6):
        offer(machine, *[1] * 16, fits=(0,))
        batch = sealed(machine)
        led.append(tickets(batch)[0] is large)
        machine.finished(0.0, batch)
    assert led == [True, False, True, False, True, False]


def test_the_best_gear_of_the_bucket_of_the_head_seals_early() -> None:
    machine = planner(slots=2)
    offer(machine, 1)
    sealed(machine)
    offer(machine, *[1] * 15)
    assert machine.plan(0.0) is None
    offer(machine, 1)
    assert sealed(machine).rows == 16


def test_batches_that_close_are_not_filled() -> None:
    machine = Planner((SHORT, LONG), FixedWait(max_batch_size=8, wait_ms=0.0), slots=1, max_queued_rows=100)
    long, _ = offer(machine, *[1] * 6, fits=(1,)), offer(machine, *[1] * 8)
    first = sealed(machine)
    assert tickets(first) == long


# --- the choice itself, against trying everything ------------------------------------------------

costs = st.lists(st.floats(0.3, 5.0), min_size=4, max_size=4).map(
    lambda steps: CostTable(GEARS, tuple(itertools.accumulate(steps)))
)


def line(fits: tuple[int, ...], rows: int, prices: list[Prices]) -> Line:
    made = Line(fits, large=False, prices=prices)
    made.rows = rows
    return made


@given(
    st.lists(costs, min_size=3, max_size=3), st.lists(st.integers(0, 40), min_size=3, max_size=3), st.data()
)
def test_the_choice_is_never_dearer_than_to_run_all_apart_or_all_together(
    tables: list[CostTable], rows: list[int], data: st.DataObject
) -> None:
    """Lines as of sequences: each fits its own length and all longer ones."""
    prices = [Prices(table, GEARS) for table in tables]
    lines = [line(tuple(range(first, 3)), count, prices) for first, count in enumerate(rows) if count]
    if not lines:
        return
    head = data.draw(st.sampled_from(lines))
    bucket, joined = bucket_for(head, lines, prices)
    assert head in joined
    assert bucket in head.fits
    assert all(bucket in one.fits for one in joined)
    rest = [one for one in lines if one not in joined]

    def apart(some: list[Line]) -> float:
        return sum(prices[one.fits[0]].clear_ms(one.rows) for one in some)

    chosen = prices[bucket].clear_ms(sum(one.rows for one in joined)) + apart(rest)
    for other in head.fits:
        alone = prices[other].clear_ms(head.rows) + apart([one for one in lines if one is not head])
        assert chosen <= alone + 1e-6
        together = [one for one in lines if other in one.fits]
        rest = [one for one in lines if one not in together]
        assert chosen <= prices[other].clear_ms(sum(one.rows for one in together)) + apart(rest) + 1e-6


# --- early ---------------------------------------------------------------------------------------


def test_a_full_batch_of_other_shapes_is_sealed_while_the_device_is_busy() -> None:
    machine = planner(slots=3)
    offer(machine, 16, fits=(0,))
    sealed(machine)
    (head,) = offer(machine, 1, fits=(0,))
    others = offer(machine, *[1] * 40, fits=(1,))
    batch = sealed(machine)
    assert (batch.bucket, [piece.ticket for piece in batch.pieces]) == (1, others[:16])
    assert machine.plan(0.0) is None, "nobody is passed twice"
    for running in list(machine._running.values()):
        machine.finished(0.0, running)
    assert sealed(machine).pieces[0].ticket is head


def test_a_full_batch_of_other_shapes_does_not_make_the_first_ticket_late() -> None:
    for deadline, early in ((0.018, False), (0.021, True)):
        machine = planner(slots=3)
        offer(machine, 16, fits=(0,))
        sealed(machine)  # until 5 ms
        machine.offer(0.0, 1, fits=(0,), deadline=deadline)
        offer(machine, *[1] * 16, fits=(1,))  # until 18 ms
        assert (machine.plan(0.0) is not None) is early
