"""The planner under every order of events, against a model of its own that keeps plain lists."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.planner import Batch, Planner, Ticket, TicketState
from ascend_serve.batching.policy import Fixed, PadUp, Policy
from ascend_serve.errors import Draining, QueueFull, RequestTooLarge
from ascend_serve.spec.gears import Gears

pytestmark = pytest.mark.unit


@dataclass
class Seen:
    """What the test itself knows of a ticket."""

    deadline: float | None
    started: list[tuple[int, int]] = field(default_factory=list)
    ends: list[TicketState] = field(default_factory=list)


class EveryOrder(RuleBasedStateMachine):
    @initialize(data=st.data())
    def start(self, data: st.DataObject) -> None:
        compiled = Gears.of(data.draw(st.sets(st.integers(1, 12), min_size=1, max_size=4), "gears"))
        measured = {gear: data.draw(st.floats(0.5, 9.0), f"ms of {gear}") for gear in compiled}
        costs = CostTable.of(compiled, measured)
        policies: list[Policy] = [PadUp(), Fixed(), Fixed(compiled.sizes[0])]
        policy = data.draw(st.sampled_from(policies), "policy")
        self.slots = data.draw(st.integers(1, 3), "slots")
        self.most_running = data.draw(st.integers(1, self.slots), "in_flight")
        self.max_rows = data.draw(st.integers(1, 60), "max_queued_rows")
        self.usable = policy.usable(compiled)
        self.best = costs.best_gear(self.usable)
        self.now = 0.0
        self.draining = False
        self.seen: dict[Ticket, Seen] = {}
        self.running: list[Batch] = []
        self.planner = Planner(
            compiled,
            costs,
            policy,
            slots=self.slots,
            max_queued_rows=self.max_rows,
            in_flight=self.most_running,
        )

    # --- the test's own view --------------------------------------------------------------------

    def waiting(self) -> list[tuple[Ticket, int]]:
        """Tickets with rows left to start, oldest first, and how many."""
        left = [
            (ticket, ticket.rows - sum(rows for _, rows in seen.started))
            for ticket, seen in self.seen.items()
            if not seen.ends
        ]
        return [(ticket, rows) for ticket, rows in left if rows]

    def waiting_rows(self) -> int:
        return sum(rows for _, rows in self.waiting())

    def ended(self, tickets: list[Ticket], state: TicketState) -> None:
        for ticket in tickets:
            assert ticket.state is state
            self.seen[ticket].ends.append(state)

    # --- events ---------------------------------------------------------------------------------

    @rule(excess=st.integers(-6, 20), patience=st.none() | st.floats(0.0, 5.0))
    def offer(self, excess: int, patience: float | None) -> None:
        # Sizes about the largest gear: there a ticket is kept whole or split, and fits beside others or not.
        rows = max(1, self.usable.largest + excess)
        deadline = None if patience is None else self.now + patience
        fits = self.waiting_rows() + rows <= self.max_rows
        try:
            ticket = self.planner.offer(self.now, rows, deadline)
        except Draining:
            assert self.draining
        except RequestTooLarge:
            assert rows > self.max_rows
        except QueueFull:
            assert not fits
            assert rows <= self.max_rows
        else:
            assert fits
            assert not self.draining
            self.seen[ticket] = Seen(deadline)

    @rule(seconds=st.floats(0.0, 3.0))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @rule(at_once=st.integers(1, 3))
    def plan(self, at_once: int) -> None:
        for _ in range(at_once):
            # Whoever's deadline has come is out before anything is planned.
            self.expire_those_due()
            before = self.waiting()
            rows_before = self.waiting_rows()
            batch = self.planner.plan(self.now)
            may_start = len(self.running) < self.most_running and (
                not self.running or rows_before >= self.best
            )
            assert (batch is not None) == (may_start and bool(before)), "late sealing"
            if batch is None:
                return
            self.accept(batch, before)

    def expire_those_due(self) -> None:
        due = {
            ticket
            for ticket, _ in self.waiting()
            if (deadline := self.seen[ticket].deadline) is not None and deadline <= self.now
        }
        expired = self.planner.take_expired(self.now)
        assert set(expired) == due
        assert len(expired) == len(due)
        self.ended(expired, TicketState.EXPIRED)

    def accept(self, batch: Batch, before: list[tuple[Ticket, int]]) -> None:
        assert batch.slot in range(self.slots)
        assert batch.slot not in {running.slot for running in self.running}
        assert batch.gear in self.usable
        assert batch.gear == self.usable.cover(batch.rows), "no gear with less padding would do"
        assert batch.rows == sum(piece.rows for piece in batch.pieces) <= batch.gear
        assert [piece.ticket for piece in batch.pieces] == [
            ticket for ticket, _ in before[: len(batch.pieces)]
        ], "first come, first served"
        at = 0
        for piece, (ticket, left) in zip(batch.pieces, before, strict=False):
            seen = self.seen[ticket]
            assert piece.at == at
            assert piece.start == sum(rows for _, rows in seen.started), "rows start in order"
            if ticket.rows <= self.usable.largest:
                assert (piece.start, piece.rows) == (0, ticket.rows), "kept whole"
            if piece is not batch.pieces[-1]:
                assert piece.rows == left, "only the last one may be cut"
            seen.started.append((piece.start, piece.rows))
            at += piece.rows
        self.running.append(batch)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        batch = self.running.pop(data.draw(st.integers(0, len(self.running) - 1), "which"))
        still = {piece.ticket for running in self.running for piece in running.pieces}
        waiting = {ticket for ticket, _ in self.waiting()}
        complete = [
            piece.ticket
            for piece in batch.pieces
            if not self.seen[piece.ticket].ends and piece.ticket not in still | waiting
        ]
        done = self.planner.finished(batch)
        assert done == complete
        self.ended(done, TicketState.DONE)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        batch = self.running.pop(data.draw(st.integers(0, len(self.running) - 1), "which"))
        struck = [piece.ticket for piece in batch.pieces if not self.seen[piece.ticket].ends]
        failed = self.planner.failed(batch)
        assert failed == struck
        self.ended(failed, TicketState.FAILED)

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(list(self.seen)), "who")
        alive = not self.seen[ticket].ends
        # A ticket whose deadline has come but whom nobody has asked about is alive still.
        assert self.planner.cancel(ticket) == alive
        if alive:
            self.ended([ticket], TicketState.CANCELLED)

    @rule()
    def drain(self) -> None:
        self.planner.drain()
        self.draining = True

    # --- what always holds ----------------------------------------------------------------------

    @invariant()
    def agrees(self) -> None:
        self.planner.check()
        assert self.planner.queued_rows == self.waiting_rows() <= self.max_rows
        assert self.planner.queued_tickets == len(self.waiting())
        assert self.planner.running_batches == len(self.running) <= self.most_running
        deadlines = [
            deadline for ticket, _ in self.waiting() if (deadline := self.seen[ticket].deadline) is not None
        ]
        assert self.planner.next_wakeup() == min(deadlines, default=None)
        for ticket, seen in self.seen.items():
            assert len(seen.ends) <= 1, "a ticket ends once"
            assert ticket.ended == bool(seen.ends)

    def teardown(self) -> None:
        """However it was left, everything accepted comes to an end, and nothing is held after it."""
        if not hasattr(self, "planner"):
            return
        while self.running or self.waiting():
            self.plan(1)
            if self.running:
                batch = self.running.pop(0)
                self.ended(self.planner.finished(batch), TicketState.DONE)
        assert all(len(seen.ends) == 1 for seen in self.seen.values())
        assert self.planner.running_batches == self.planner.queued_rows == 0
        self.planner.check()


TestEveryOrder = EveryOrder.TestCase
TestEveryOrder.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
