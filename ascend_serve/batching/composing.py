"""Composing the next batch: when, who, with which shapes, at which gear. The rules are told in `planner`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf

from ascend_serve.batching.choice import WAIT, Closing, ClosingPolicy, Policy, View
from ascend_serve.batching.forecast import Forecast
from ascend_serve.batching.grouping import bucket_for
from ascend_serve.batching.meeting import deferred_until, late_in, smaller_batch
from ascend_serve.batching.prices import Prices
from ascend_serve.batching.rates import RateMeter
from ascend_serve.batching.ticket import Piece, Ticket, TicketState
from ascend_serve.batching.waiting import Line, Turn, Waiting

_RUNNING = TicketState.RUNNING


class Composer:
    """Takes tickets out of the queue for one batch after another.

    Args:
        waiting: the queue.
        prices: what the gears of each bucket cost.
        policy: chooses the gear of a batch.
        rate: how fast rows come.
        forecast: when what runs will be back.
        drop: called with a ticket that is late in the batch it would run in, and the reason in words.
        deferred: whether an idle device may wait while all deadlines allow it.

    Attributes:
        ask_at: when to compose again although no event comes, in seconds; infinite if there is no need.
    """

    def __init__(
        self,
        waiting: Waiting,
        prices: Sequence[Prices],
        policy: Policy,
        *,
        rate: RateMeter,
        forecast: Forecast,
        drop: Callable[[Ticket, str], None],
        deferred: bool,
    ) -> None:
        self._waiting = waiting
        self._prices = prices
        self._policy = policy
        self._rate = rate
        self._forecast = forecast
        self._drop = drop
        self._deferred = deferred
        self._closings: list[Closing] | None = None
        if isinstance(policy, ClosingPolicy):
            self._closings = [policy.closing(one.gears) for one in prices]
        self._turn = Turn.EITHER
        self.ask_at = inf

    def compose(self, now: float, *, busy: bool) -> tuple[int, list[Piece]] | None:
        """The bucket and the pieces of the next batch, or None when nothing is to be started now.

        Args:
            now: the time, in seconds.
            busy: whether a batch runs.
        """
        self.ask_at = inf
        while self._waiting.tickets:
            head = self._waiting.leading(self._turn)
            if len(self._prices) == 1:
                bucket, lines = 0, self._waiting.lines()
            else:
                bucket, lines = bucket_for(head, self._waiting.lines(), self._prices)
            gear = self._gear(now, bucket, lines, busy=busy)
            if gear == WAIT:
                return None
            taken, room = self._select(now, head, bucket, gear, lines)
            if taken:
                return bucket, self._pieces(now, bucket, taken, room)
        return None

    # --- when, and at which gear ----------------------------------------------------------------

    def _gear(self, now: float, bucket: int, lines: Sequence[Line], *, busy: bool) -> int:
        """The gear to run now, or WAIT."""
        prices = self._prices[bucket]
        rows = sum([line.rows for line in lines])
        if self._closings is None:
            if busy:
                return prices.best if rows >= prices.best else WAIT
            every = self._waiting.with_deadline == self._waiting.tickets
            if self._deferred and every and rows < prices.best:
                self.ask_at = deferred_until(lines, rows, prices)
                if now < self.ask_at:
                    return WAIT
                self.ask_at = inf
        return self._choice(now, rows, bucket)

    def _choice(self, now: float, rows: int, bucket: int) -> int:
        """What the policy says."""
        policy, prices = self._policy, self._prices[bucket]
        oldest_at = self._waiting.oldest_at()
        oldest_ms = (now - oldest_at) * 1e3
        patience_ms = policy.patience_ms
        if patience_ms is not None and now >= oldest_at + patience_ms / 1e3:
            oldest_ms = max(oldest_ms, patience_ms)  # whatever rounding makes of the difference
        gear = policy.choose(
            View(rows, oldest_ms, self._rate.per_ms(now), bucket, prices.gears, prices.costs)
        )
        if gear == WAIT:
            if patience_ms is not None:
                self.ask_at = oldest_at + patience_ms / 1e3
        elif gear not in prices.stages_s:
            raise ValueError(f"policy {policy} chose gear {gear}; usable: {list(prices.gears)}")
        return gear

    # --- who ------------------------------------------------------------------------------------

    def _select(
        self, now: float, head: Line, bucket: int, gear: int, lines: Sequence[Line]
    ) -> tuple[list[Ticket], int]:
        """The tickets of a batch of about `gear` rows led by the head, and how many rows of them there is room for.

        None of them if some had to be dropped instead.
        """
        prices, waiting, cover = self._prices[bucket], self._waiting, self._prices[bucket].gears.cover
        room, until = gear, inf
        if self._closings is not None:
            closing = self._closings[bucket]
            room = min(room, closing.rows)
            until = head.head.offered_at + closing.wait_ms / 1e3
        if not head.large:
            least = head.head.rows
            room = max(room, cover(least) if self._closings is None else least)
        timed, crowded = waiting.with_deadline, waiting.rows >= prices.best
        taken, rows = self._take(head, lines, room, until)
        if timed:
            gear = cover(rows)
            late = late_in(taken, self._forecast.back_at(now, prices.stages_s[gear]))
            if late:
                back_at = partial(self._forecast.back_at, now)
                smaller = smaller_batch(taken, gear, prices, back_at, crowded=crowded)
                room, count = smaller or (gear, 0)
                for ticket in taken[count:]:
                    waiting.put_back(now, ticket)
                taken = taken[:count]
                rows = min(room, sum(one.rows - one.sealed_rows for one in taken))
                if not taken:
                    self._drop_late(now, late, back_at(prices.stages_s[gear]) - now)
        gear = cover(rows)
        if 0 < rows < gear and len(self._prices) > 1 and self._closings is None:
            back = self._forecast.back_at(now, prices.stages_s[gear])
            return taken + self._fill(bucket, lines, gear - rows, back), gear
        return taken, room

    def _take(self, head: Line, lines: Sequence[Line], room: int, until: float) -> tuple[list[Ticket], int]:
        """The leader, small tickets in order, and large ones in the room that is left; and their rows.

        Of a large one there may be more rows than room.
        """
        waiting = self._waiting
        taken: list[Ticket] = []
        left = room
        if head.large:
            leader = waiting.take_head(head)
            taken.append(leader)
            left -= leader.rows - leader.sealed_rows
        small = [line for line in lines if line.rows and not line.large]
        if small and left > 0:
            before = waiting.rows
            taken += waiting.take(small, left, until)
            left -= before - waiting.rows
        if waiting.large_tickets and left > 0:
            before = waiting.rows
            taken += waiting.take_large([line for line in lines if line.large], left, until)
            left -= before - waiting.rows
        return taken, room - max(left, 0)

    def _fill(self, bucket: int, lines: Sequence[Line], room: int, back_at: float) -> list[Ticket]:
        """Tickets of other lines for the padding of a batch, if they are in time with it."""
        waiting = self._waiting
        others = [line for line in waiting.lines() if line not in lines and bucket in line.fits]
        taken = waiting.take([line for line in others if not line.large], room, by=back_at)
        room -= sum([ticket.rows for ticket in taken])
        return taken + waiting.take_large([line for line in others if line.large], room, by=back_at)

    def _drop_late(self, now: float, late: Sequence[Ticket], takes_s: float) -> None:
        """Drop tickets that would be late in their batch."""
        for ticket in late:
            has_s = (ticket.deadline or 0.0) - now
            self._drop(
                ticket,
                f"the deadline is {has_s * 1e3:.1f} ms away, but the batch it would run in is back in "
                f"{takes_s * 1e3:.1f} ms",
            )

    def _pieces(self, now: float, bucket: int, taken: Sequence[Ticket], room: int) -> list[Piece]:
        """The rows of these tickets; the leader or the last one is cut if there is no room for all of it."""
        pieces = []
        at = 0
        split = False
        for ticket in taken:
            start = ticket.sealed_rows
            rows = ticket.rows - start
            ticket.bucket = bucket
            if ticket.large:
                split = True
                if rows > room - at:
                    rows = room - at
                    ticket.sealed_rows += rows
                    pieces.append(Piece(ticket, start, rows, at))
                    self._waiting.put_back(now, ticket)
                    at = room
                    continue
            ticket.sealed_rows = ticket.rows
            ticket.state = _RUNNING
            pieces.append(Piece(ticket, start, rows, at))
            at += rows
        if split:
            self._turn = Turn.SMALL
        elif self._turn is Turn.SMALL and self._waiting.large_tickets:
            self._turn = Turn.LARGE
        else:
            self._turn = Turn.EITHER
        return pieces
