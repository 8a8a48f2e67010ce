"""The planner under every order of events, against a model of its own that keeps plain lists."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.forecast import EARLY_S
from ascend_serve.batching.planner import PATIENCE_S, STEP_S, Batch, Planner, Ticket, TicketState
from ascend_serve.batching.policy import (
    Fixed,
    FixedWait,
    MinCost,
    Optimal,
    PadUp,
    Policy,
    StepDown,
)
from ascend_serve.errors import DeadlineUnmet, Draining, QueueFull, RequestError, RequestTooLarge
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages, Timing
from tests.unit.patience import Patient

pytestmark = pytest.mark.unit

TINY_S = 1e-6
"""What rounding may make of a time."""

MANY = 12
"""Tickets that a run has seen before what is rare may happen."""

milliseconds = st.floats(0.0, 9.0)


def tables(compiled: list[Gears], data: st.DataObject) -> list[CostTable]:
    """A cost table for each bucket; a larger gear takes longer, as on a device."""
    drawn = []
    host_ms = data.draw(milliseconds, "the host's part")
    for bucket, gears in enumerate(compiled):
        copy_in, copy_out = data.draw(st.tuples(milliseconds, milliseconds), f"copies of bucket {bucket}")
        steps = data.draw(
            st.lists(st.floats(0.5, 9.0), min_size=len(gears), max_size=len(gears)), "compute grows by"
        )
        drawn.append(
            replace(
                CostTable.of(
                    gears,
                    {
                        gear: Timing(Stages(copy_in, sum(steps[: place + 1]), copy_out), 0.0, 1)
                        for place, gear in enumerate(gears)
                    },
                ),
                host_ms=host_ms,
            )
        )
    return drawn


@dataclass
class Seen:
    """What the test itself knows of a ticket."""

    ticket: Ticket
    fits: tuple[int, ...]
    offered_at: float
    deadline: float | None
    level: int
    bucket: int | None = None
    started: list[tuple[int, int]] = field(default_factory=list)
    ends: list[TicketState] = field(default_factory=list)

    @property
    def left(self) -> int:
        return 0 if self.ends else self.ticket.rows - sum(rows for _, rows in self.started)

    @property
    def due(self) -> tuple[float, int]:
        patience = self.offered_at + PATIENCE_S
        base = patience if self.deadline is None else min(patience, self.deadline)
        return base + (self.level - 1) * STEP_S, self.ticket.number


class EveryOrder(RuleBasedStateMachine):
    @initialize(data=st.data())
    def start(self, data: st.DataObject) -> None:
        sizes = st.sets(st.integers(1, 12), min_size=1, max_size=4).map(Gears.of)
        self.compiled = data.draw(st.lists(sizes, min_size=1, max_size=3), "gears of each bucket")
        self.tables = tables(self.compiled, data)
        self.policy = data.draw(self.policies(), "policy")
        self.slots = data.draw(st.integers(1, 3), "slots")
        self.most_running = data.draw(st.integers(1, self.slots), "in_flight")
        self.max_rows = data.draw(st.integers(1, 300), "max_queued_rows")
        self.levels = data.draw(st.integers(1, 3), "priority_levels")
        self.deferred = data.draw(st.booleans(), "deferred")
        self.now = data.draw(st.sampled_from([0.0, 1e6]), "the clock")
        self.draining = False
        self.seen: dict[Ticket, Seen] = {}
        self.running: list[Batch] = []
        self.had_large = False
        self.large_at_last_seal: set[Ticket] = set()
        self.owed = False
        self.passed: set[Ticket] = set()
        self.planner = Planner(
            self.tables,
            self.policy,
            slots=self.slots,
            max_queued_rows=self.max_rows,
            in_flight=self.most_running,
            priority_levels=self.levels,
            deferred=self.deferred,
        )

    def policies(self) -> st.SearchStrategy[Policy]:
        least = min(gears.largest for gears in self.compiled)
        always: list[Policy] = [PadUp(), Fixed(), StepDown(), MinCost(), Optimal(), FixedWait(wait_ms=300.0)]
        return st.sampled_from([*always, Patient(), FixedWait(max_batch_size=least, wait_ms=5.0)])

    # --- the test's own view --------------------------------------------------------------------

    def usable(self, bucket: int) -> Gears:
        return self.policy.usable(self.compiled[bucket])

    def large(self, seen: Seen) -> bool:
        return seen.ticket.rows > max(self.usable(bucket).largest for bucket in seen.fits) or bool(
            seen.started
        )

    def waiting(self) -> list[Seen]:
        """Tickets with rows left to start, in the order of their dues."""
        return sorted((seen for seen in self.seen.values() if seen.left), key=lambda seen: seen.due)

    def waiting_rows(self) -> int:
        return sum(seen.left for seen in self.waiting())

    def total_s(self, bucket: int, gear: int) -> float:
        return self.tables[bucket].total_ms_of(gear) / 1e3

    def least_s(self, seen: Seen) -> float:
        """Seconds that a ticket takes at the very least, wherever it may still run."""
        buckets = seen.fits if seen.bucket is None else (seen.bucket,)
        rows = 1 if self.large(seen) else seen.left
        return min(self.total_s(bucket, self.usable(bucket).cover(rows)) for bucket in buckets)

    def ended(self, tickets: list[Ticket], state: TicketState) -> None:
        for ticket in tickets:
            assert ticket.state is state
            self.seen[ticket].ends.append(state)

    # --- events ---------------------------------------------------------------------------------

    @rule(
        excess=st.integers(-6, 30),
        within=st.none() | st.floats(-0.001, 0.2) | st.floats(0.2, 5.0),
        data=st.data(),
    )
    def offer_about_the_largest_gear(self, excess: int, within: float | None, data: st.DataObject) -> None:
        # There a ticket is kept whole or split, and fits beside others or not.
        largest = max(gears.largest for gears in self.compiled)
        self.offer(max(1, largest + excess), within, data)

    @rule(
        sizes=st.lists(st.integers(1, 4), min_size=1, max_size=6),
        within=st.none() | st.floats(0.0, 0.1),
        data=st.data(),
    )
    def offer_small_ones(self, sizes: list[int], within: float | None, data: st.DataObject) -> None:
        for rows in sizes:
            self.offer(rows, within, data)

    def offer(self, rows: int, within: float | None, data: st.DataObject) -> None:
        buckets = st.integers(0, len(self.compiled) - 1)
        fits = tuple(data.draw(st.lists(buckets, min_size=1, max_size=3, unique=True), "fits"))
        priority = data.draw(st.none() | st.integers(1, self.levels), "priority")
        deadline = None if within is None else self.now + within
        room = self.waiting_rows() + rows <= self.max_rows
        try:
            ticket = self.planner.offer(self.now, rows, fits=fits, deadline=deadline, priority=priority)
        except Draining:
            assert self.draining
        except RequestTooLarge:
            assert rows > self.max_rows
        except QueueFull:
            assert not room
            assert rows <= self.max_rows
        except DeadlineUnmet:
            assert room
            assert deadline is not None
            assert deadline - self.now <= self.plenty_s(rows, fits)
        else:
            assert room
            assert not self.draining
            level = (self.levels + 1) // 2 if priority is None else priority
            whole = tuple(bucket for bucket in fits if rows <= self.usable(bucket).largest)
            self.seen[ticket] = Seen(ticket, whole or fits, self.now, deadline, level)

    def plenty_s(self, rows: int, fits: tuple[int, ...]) -> float:
        """Seconds in which all that runs and all that waits would be back, run apart and one after another."""
        runs = sum(self.total_s(batch.bucket, batch.gear) for batch in self.running)
        largest = [self.total_s(bucket, gears.largest) for bucket, gears in enumerate(self.compiled)]
        waits = sum(seen.left for seen in self.waiting()) * max(largest)
        return runs + waits + rows * max(largest[bucket] for bucket in fits) + TINY_S

    @rule(priority=st.integers(-1, 5))
    def offer_at_a_level_that_there_is_not(self, priority: int) -> None:
        if 1 <= priority <= self.levels or self.draining or self.waiting_rows() >= self.max_rows:
            return
        with pytest.raises(RequestError, match="1 is the most urgent"):
            self.planner.offer(self.now, 1, priority=priority)

    @rule(seconds=st.floats(0.0, 0.02) | st.floats(0.02, 3.0))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def let_time_pass_until_asked(self) -> None:
        wakeup = self.planner.next_wakeup()
        if wakeup is not None:
            self.now = max(self.now, wakeup)

    @rule(times=st.integers(1, 3))
    def idle(self, times: int) -> None:
        """Ask whenever the planner wants it, and let nothing come: so nobody expires on an idle device."""
        self.plan(1)
        for _ in range(times):
            wakeup = self.planner.next_wakeup()
            if self.running or wakeup is None:
                return
            self.now = wakeup
            assert not self.planner.take_expired(self.now), "no deadline passes while the device idles"
            self.plan(1)

    @rule(at_once=st.integers(1, 3))
    def plan(self, at_once: int) -> None:
        for _ in range(at_once):
            self.take_expired()
            before = self.waiting()
            self.opens_at = [self.opening(bucket) for bucket in range(len(self.compiled))]
            quiet = self.planner.quiet(self.now)
            batch = self.planner.plan(self.now)
            assert not (quiet and batch), "who is quiet has nothing to do"
            self.take_expired()
            if batch is None:
                self.explain_why_not()
                return
            self.accept(batch, [seen for seen in before if TicketState.EXPIRED not in seen.ends])

    def opening(self, bucket: int) -> float:
        """The earliest that a batch which is not full may be sealed beside others: in time for the longest one."""
        table, gears = self.tables[bucket], self.usable(bucket)
        places = [table.gears.sizes.index(gear) for gear in gears]
        longest = [
            max(stage[place] for place in places) / 1e3
            for stage in (table.copy_in_ms, table.ms, table.copy_out_ms)
        ]
        return self.planner._forecast.latest_start((longest[0], longest[1], longest[2])) - EARLY_S

    def take_expired(self) -> None:
        expired = self.planner.take_expired(self.now)
        for ticket in expired:
            seen = self.seen[ticket]
            assert seen.left, "who expires has rows that wait"
            assert seen.deadline is not None
            assert "the deadline" in ticket.reason
            assert seen.deadline - self.now <= self.plenty_s(1, seen.fits), "only who is hard pressed"
        self.ended(expired, TicketState.EXPIRED)
        for seen in self.waiting():
            assert seen.deadline is None or seen.deadline - self.least_s(seen) > self.now - TINY_S

    def explain_why_not(self) -> None:
        wakeup = self.planner.next_wakeup()
        assert wakeup is None or wakeup > self.now, "there is nothing more to ask now"
        waiting = self.waiting()
        if not self.running:
            assert not (self.draining and waiting), "nothing waits for more while the replica drains"
        if not waiting or len(self.running) == self.most_running:
            return
        if isinstance(self.policy, FixedWait):
            assert not self.draining, "no batch is open while the replica drains"
            wait_s = self.policy.wait_ms / 1e3
            oldest = min(seen.offered_at for seen in waiting)
            assert self.now < oldest + wait_s, "a batch is open no longer than its timer runs"
            return
        if len(self.compiled) == 1:
            best = self.tables[0].best_gear(self.usable(0))
            assert sum(seen.left for seen in waiting) < best, "what fills the best gear is sealed"
        if not self.running and isinstance(self.policy, Patient):
            oldest = min(seen.offered_at for seen in waiting)
            assert self.deferred or self.now < oldest + self.policy.patience_ms / 1e3, (
                "nobody waits for longer"
            )
        elif not self.running:
            assert self.deferred, "an idle device takes what there is"
            assert all(seen.deadline is not None for seen in waiting)
            assert wakeup is not None
            assert wakeup <= min((seen.deadline or 0.0) - self.least_s(seen) for seen in waiting)

    def accept(self, batch: Batch, before: list[Seen]) -> None:
        gears = self.usable(batch.bucket)
        assert batch.slot in range(self.slots)
        assert batch.slot not in {running.slot for running in self.running}
        assert batch.gear in gears
        assert batch.gear == gears.cover(batch.rows), "no gear with less padding would do"
        assert batch.rows == sum(piece.rows for piece in batch.pieces) <= batch.gear
        if self.running and not isinstance(self.policy, FixedWait):
            rows = sum(seen.left for seen in before if batch.bucket in seen.fits)
            full = rows >= self.tables[batch.bucket].best_gear(gears)
            in_time = self.now >= self.opens_at[batch.bucket] - TINY_S
            assert full or in_time, "sealed early only if it is full, or if the device would wait for it"
        self.check_turns(batch, before)
        self.check_order(batch, before)
        at = 0
        for piece in batch.pieces:
            seen = self.seen[piece.ticket]
            assert not seen.ends
            assert batch.bucket in seen.fits
            assert seen.bucket in (None, batch.bucket), "a split ticket stays in its bucket"
            assert piece.at == at
            assert piece.start == sum(rows for _, rows in seen.started), "rows start in order"
            if not self.large(seen):
                assert (piece.start, piece.rows) == (0, piece.ticket.rows), "kept whole"
            if seen.deadline is not None:
                back = self.now + self.total_s(batch.bucket, batch.gear)
                assert back <= seen.deadline + TINY_S, "who cannot be back in time does not run"
            at += piece.rows
        for piece in batch.pieces:
            seen = self.seen[piece.ticket]
            seen.started.append((piece.start, piece.rows))
            seen.bucket = batch.bucket
        self.running.append(batch)

    def check_turns(self, batch: Batch, before: list[Seen]) -> None:
        """Large tickets and small ones take turns."""
        large = {seen.ticket for seen in before if self.large(seen)}
        small = {seen.ticket for seen in before} - large
        has_large = any(piece.ticket in large for piece in batch.pieces)
        led_by_large = batch.pieces[0].ticket in large
        if not self.forced(before):
            if self.had_large and small:
                assert not led_by_large, "large tickets hold up small ones for one batch at a time"
            if self.owed and large & self.large_at_last_seal and not self.excused(before):
                assert led_by_large, "a large ticket that got nothing leads as soon as it may"
        self.owed = bool(large) and not has_large and (self.had_large or self.owed)
        self.had_large = has_large
        self.large_at_last_seal = large

    def forced(self, before: list[Seen]) -> bool:
        """Whether shapes may have had to start out of turn, before their deadline passes.

        Deferral looks at deadlines alone, for an idle device and for one whose next batch is chosen ahead: who is not
        forced to start yet is held up by nobody.
        """
        if len(self.compiled) == 1:
            return False
        if isinstance(self.policy, FixedWait | Patient):
            return not self.running and any(seen.deadline is not None for seen in before)
        return self.deferred and all(seen.deadline is not None for seen in before)

    def excused(self, before: list[Seen]) -> bool:
        """Whether the first large ticket need not lead: someone more urgent, or a deadline, may come first."""
        first = next(seen for seen in before if self.large(seen))
        small = [seen for seen in before if not self.large(seen)]
        if not small or self.now >= first.due[0]:
            return False
        until = self.now + self.plenty_s(first.left, first.fits)
        return small[0].level < first.level or any(
            seen.deadline is not None and seen.deadline - self.least_s(seen) < until for seen in small
        )

    def check_order(self, batch: Batch, before: list[Seen]) -> None:
        """Small tickets go by when they are due."""
        small = [seen for seen in before if not self.large(seen)]
        taken = [self.seen[piece.ticket] for piece in batch.pieces if not self.large(self.seen[piece.ticket])]
        if batch.pieces[0].ticket in {seen.ticket for seen in taken}:
            leader = taken[0]
            early = bool(self.running) and len(self.compiled) > 1
            if leader is not small[0] and early and small[0] not in taken:
                assert small[0].ticket not in self.passed, "full batches of other shapes pass nobody twice"
                self.passed.add(small[0].ticket)
            elif not self.forced(before):
                assert leader is small[0], "who is due first leads"
                for seen in small:
                    # However urgent the later ones are.
                    bound = PATIENCE_S + (self.levels - 1) * STEP_S
                    assert leader.offered_at <= seen.offered_at + bound + TINY_S
        if len(self.compiled) == 1:
            assert taken == small[: len(taken)], "nobody overtakes"

    @rule(seconds=st.floats(0.0, 0.02))
    def serve(self, seconds: float) -> None:
        """What happens over and over: a batch comes back, and the next ones start."""
        if self.running:
            self.bring_back(self.running.pop(0))
        self.plan(3)
        self.now += seconds

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self.bring_back(self.running.pop(data.draw(st.integers(0, len(self.running) - 1), "which")))

    def bring_back(self, batch: Batch) -> None:
        still = {piece.ticket for running in self.running for piece in running.pieces}
        complete = [
            piece.ticket
            for piece in batch.pieces
            if not self.seen[piece.ticket].ends
            and not self.seen[piece.ticket].left
            and piece.ticket not in still
        ]
        done = self.planner.finished(self.now, batch)
        assert done == complete
        self.ended(done, TicketState.DONE)

    @precondition(lambda self: self.running and len(self.seen) > MANY)
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
        # A ticket that can no longer be in time but whom nobody has asked about is alive still.
        assert self.planner.cancel(ticket) == alive
        if alive:
            self.ended([ticket], TicketState.CANCELLED)

    @precondition(lambda self: len(self.seen) > MANY)
    @rule(data=st.data())
    def retune(self, data: st.DataObject) -> None:
        self.take_expired()
        self.tables = tables(self.compiled, data)
        self.policy = data.draw(self.policies(), "policy")
        self.planner.retune(self.tables, self.policy)
        self.had_large = self.owed = False
        for seen in self.waiting():
            seen.fits = seen.ticket.fits
        self.take_expired()

    @precondition(lambda self: len(self.seen) > MANY)
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
        assert self.planner.rate_per_ms(self.now) >= 0
        wakeup = self.planner.next_wakeup()
        deadlines = [seen.deadline for seen in self.waiting() if seen.deadline is not None]
        if deadlines:
            assert wakeup is not None
            assert wakeup <= min(deadlines)
        for ticket, seen in self.seen.items():
            assert len(seen.ends) <= 1, "a ticket ends once"
            assert ticket.ended == bool(seen.ends)

    def teardown(self) -> None:
        """However it was left, everything accepted comes to an end, and nothing is held after it."""
        if not hasattr(self, "planner"):
            return
        turns = 100 + 10 * self.waiting_rows()
        while self.running or self.waiting():
            turns -= 1
            assert turns, "it comes to an end"
            self.plan(1)
            if self.running:
                self.bring_back(self.running.pop(0))
            else:
                self.let_time_pass_until_asked()
        assert all(len(seen.ends) == 1 for seen in self.seen.values())
        assert self.planner.running_batches == self.planner.queued_rows == 0
        self.planner.check()


TestEveryOrder = EveryOrder.TestCase
TestEveryOrder.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
