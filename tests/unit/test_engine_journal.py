"""What the engine writes down of itself is enough to take the same decisions again."""

import asyncio
from contextlib import suppress
from functools import partial

import numpy as np
import pytest

from ascend_serve.batching.journal import (
    Cancelled,
    Drained,
    Expired,
    Failed,
    FailedAll,
    Header,
    Landed,
    Offered,
    Refused,
    Retuned,
    Sealed,
    encode,
)
from ascend_serve.batching.policy import policy_named
from ascend_serve.errors import DeadlineUnmet, QueueFull
from ascend_serve.simulating.replaying import Recording, retrace
from ascend_serve.spec.timing import Stages
from tests.unit.engine_bench import FAULT, SERVICE, Bench, turns

pytestmark = pytest.mark.unit


class Book:
    """A journal in a list."""

    def __init__(self):
        self.events = []

    def note(self, event):
        self.events.append(event)


def kinds(book):
    return [type(event) for event in book.events]


async def test_the_first_event_is_what_the_planner_was_made_of():
    book = Book()
    Bench(journal=book, slots=3, in_flight=2, priority_levels=3)
    [header] = book.events
    assert isinstance(header, Header)
    assert [table.ms for table in header.tables] == [(1.0, 2.0, 3.0)]
    assert (header.policy.name, header.policy.prepared) == ("pad_up", False)
    assert (header.slots, header.in_flight, header.max_queued_rows, header.priority_levels) == (3, 2, 64, 3)


async def test_a_request_from_its_offer_to_its_landing():
    book = Book()
    bench = Bench(journal=book)
    bench.offer(3, deadline=200.0)
    await turns()
    bench.now += 0.002
    bench.lane.run(Stages(0.1, 2.0, 0.1))
    await turns()
    _, offered, sealed, landed = book.events
    assert offered == Offered(100.0, 0, 3, (0,), 200.0, None)
    assert sealed == Sealed(100.0, sealed.slot, 0, 4, 3, ((0, 0, 3),))
    assert landed == Landed(100.002, sealed.slot, Stages(0.1, 2.0, 0.1))


async def test_all_that_may_happen_to_a_request_is_told():
    book = Book()
    bench = Bench(journal=book, in_flight=1, max_queued_rows=8)
    bench.offer(8)
    await turns()
    left, late, lost = bench.offer(2), bench.offer(1, deadline=bench.now + 1), bench.offer(4)
    with pytest.raises(QueueFull):
        bench.offer(3)
    left.cancel()
    bench.now += 2
    bench.engine.pump()
    bench.lane.fail(SERVICE)
    await turns()
    bench.lane.fail(FAULT)
    await turns()
    for request in (late, lost):
        assert request.result.exception() is not None
    assert kinds(book) == [
        Header,
        Offered,
        Sealed,
        Offered,
        Offered,
        Offered,
        Refused,
        Cancelled,
        Expired,
        Failed,
        Sealed,
        Failed,
        FailedAll,
    ]
    assert book.events[6].reason == "QueueFull"
    assert (book.events[7].ticket, book.events[8].tickets) == (1, (2,))


async def test_draining_and_other_tables_are_told():
    book = Book()
    bench = Bench(journal=book, policy=policy_named("optimal"))
    await bench.engine.prepared()
    await bench.engine.drain()
    assert kinds(book) == [Header, Retuned, Drained]
    assert (book.events[1].policy.name, book.events[1].policy.prepared) == ("optimal", True)


async def test_a_busy_journal_is_retraced_decision_by_decision():
    book = Book()
    bench = Bench(
        journal=book,
        policy=policy_named("optimal"),
        priority_levels=3,
        max_queued_rows=256,
        default_deadline_s=0.05,
    )
    random = np.random.default_rng(5)
    requests = []
    for step in range(400):
        bench.now += float(random.exponential(0.001))
        for _ in range(int(random.integers(0, 4))):
            with suppress(DeadlineUnmet, QueueFull):
                request = bench.offer(int(random.integers(1, 12)), priority=int(random.integers(1, 4)))
                requests.append(request)
                if random.random() < 0.1:
                    request.cancel()
        await turns()
        if bench.lane.batches and random.random() < 0.4:
            bench.lane.fail(SERVICE) if step % 50 == 0 else bench.lane.run(Stages(0.0, 3.0, 0.0))
        await turns()
        if step == 200:
            await bench.engine.prepared()
    bench.engine.fail(FAULT)
    await asyncio.gather(*(request.result for request in requests), return_exceptions=True)
    recording = Recording.read(map(encode, book.events))
    retraced = retrace(recording)
    assert retraced.departure is None
    assert retraced.decisions > 200
    assert {Expired, Retuned, Failed, Cancelled} <= {type(event) for event in recording.events}


async def test_each_ticket_that_was_offered_comes_to_one_end():
    book = Book()
    bench = Bench(journal=book, max_queued_rows=4096)
    random = np.random.default_rng(3)
    requests = []
    for step in range(200):
        with suppress(DeadlineUnmet):
            request = bench.offer(int(random.integers(1, 12)), deadline=bench.now + 0.02)
            requests.append(request)
            if step % 5 == 0:
                request.cancel()
        bench.now += 0.001
        await turns()
        if bench.lane.batches and step % 2:
            bench.lane.run()
        await turns()
    while bench.lane.batches:
        bench.lane.run()
        await turns()
    await asyncio.gather(*(request.result for request in requests), return_exceptions=True)
    ended: list[int] = []
    rows_left = {}
    in_slot = {}
    for event in book.events:
        if isinstance(event, Offered):
            rows_left[event.ticket] = event.rows
        elif isinstance(event, Cancelled):
            ended.append(event.ticket)
        elif isinstance(event, Expired):
            ended += event.tickets
        elif isinstance(event, Sealed):
            assert event.slot not in in_slot
            in_slot[event.slot] = event.pieces
        elif isinstance(event, Landed):
            for ticket, _, rows in in_slot.pop(event.slot):
                rows_left[ticket] -= rows
                if not rows_left[ticket] and ticket not in ended:
                    ended.append(ticket)
    assert sorted(ended) == sorted(rows_left)
    assert {Cancelled, Expired, Refused, Landed} <= set(kinds(book)), "the test is about all of these"


@pytest.mark.parametrize("kind", [Sealed, Landed, Failed, FailedAll])
async def test_a_journal_that_raises_costs_no_slot_and_lets_no_request_hang(kind):
    class Torn(Book):
        def note(self, event):
            if isinstance(event, kind):
                raise OSError("torn")
            super().note(event)

    said = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["exception"]))
    bench = Bench(journal=Torn(), slots=1)
    requests = [bench.offer(8) for _ in range(3)]
    await turns()
    for end in (bench.lane.run, partial(bench.lane.fail, SERVICE), partial(bench.lane.fail, FAULT)):
        if bench.lane.batches:
            end()
        await turns(6)
    assert all(request.result.done() for request in requests)
    await asyncio.gather(*(request.result for request in requests), return_exceptions=True)
    assert bench.engine.state().running_batches == 0
    # A batch of which nothing could be noted fails with that; else the loop is told of it.
    assert bool(said) is (kind is not Sealed)
    assert {str(error) for error in said} <= {"torn"}
