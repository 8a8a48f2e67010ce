"""Composing the next batch: when, who, with which shapes, at which gear. The rules are told in `planner`.

While a batch runs, what fills the best gear is sealed at once, and everything else just early enough that its copy in
is done when the run before it is (`_opens`). The policy decides then as it does for an idle device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf

from ascend_serve.batching.choice import WAIT, Closing, ClosingPolicy, Policy, View
from ascend_serve.batching.forecast import Forecast
from ascend_serve.batching.grouping import Group, all_groups, group_of
from ascend_serve.batching.lines import Line
from ascend_serve.batching.meeting import forced_start, late_in, smaller_batch
from ascend_serve.batching.prices import Prices, StageSeconds
from ascend_serve.batching.rates import RateMeter
from ascend_serve.batching.ticket import Piece, Ticket, TicketState
from ascend_serve.batching.waiting import Turn, Waiting

_RUNNING = TicketState.RUNNING
_EITHER = Turn.EITHER
_new = tuple.__new__  # Piece(...) and View(...) take twice as long or more


class Composer:
    """Takes tickets out of the queue for one batch after another.

    Args:
        waiting: the queue.
        prices: what the gears of each bucket cost.
        policy: chooses the gear of a batch.
        rate: how fast rows come.
        forecast: when what runs will be back.
        drop: called with a ticket that is late in the batch it would run in, and the reason in words.
        deferred: whether a device that has nothing to do may wait while all deadlines allow it.
        early_s: how many seconds earlier than needed the next batch is chosen while one runs.

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
        early_s: float,
    ) -> None:
        self._waiting = waiting
        self._prices = prices
        self._policy = policy
        self._rate = rate
        self._forecast = forecast
        self._drop = drop
        self._deferred = deferred
        self._early_s = early_s
        self._closings: list[Closing] | None = None
        if isinstance(policy, ClosingPolicy):
            self._closings = [policy.closing(one.gears) for one in prices]
        self._turn = Turn.EITHER
        self.ask_at = inf
        # What `_shut` remembers: while the forecast is the same, until when, and when to compose again.
        self._shut_by, self._shut_until, self._shut_ask_at = -1, -inf, inf

    def compose(self, now: float, *, busy: bool, draining: bool) -> tuple[int, list[Piece]] | None:
        """The bucket and the pieces of the next batch, or None when nothing is to be started now.

        Args:
            now: the time, in seconds.
            busy: whether a batch runs.
            draining: whether nobody comes any more, so that there is nothing to wait for.
        """
        if busy and self.is_shut(now):
            self.ask_at = self._shut_ask_at
            return None
        self.ask_at = inf
        while self._waiting.tickets:
            lines = self._waiting.lines
            first = group_of(self._leader(now), lines, self._prices)
            chosen = self._when(now, first, lines, busy=busy, draining=draining)
            if chosen is None:
                return None
            group, gear = chosen
            taken, room = self._select(now, group.head, group.bucket, gear, group.lines)
            if taken:
                return group.bucket, self._pieces(now, group.bucket, taken, room)
        return None

    # --- who leads ------------------------------------------------------------------------------

    def _leader(self, now: float) -> Line:
        """The line whose head leads: in its turn, unless a large ticket would go before more urgent small ones."""
        waiting = self._waiting
        head = waiting.leading(self._turn)
        if not head.large or waiting.large_tickets == waiting.tickets:
            return head
        small = waiting.leading(Turn.SMALL)
        if self._turn is Turn.LARGE and small.head.priority < head.head.priority and now < head.head.due:
            head = waiting.leading(Turn.EITHER)
        return small if head.large and self._breaks(now, head) else head

    def _breaks(self, now: float, head: Line) -> bool:
        """Whether a batch led by a large ticket makes a small one late that must start before it does.

        Not if the large one is past due: it has waited long enough.
        """
        large = head.head
        if now >= large.due or not self._waiting.with_deadline:
            return False
        rows = large.rows - large.sealed_rows
        some = [self._prices[bucket] for bucket in head.fits]
        back = max(self._forecast.back_at(now, one.stages_s[one.cover(rows)]) for one in some)
        return self._waiting.small_latest(back) < min(back, large.latest)

    # --- when, and at which gear ----------------------------------------------------------------

    def _when(
        self, now: float, first: Group, lines: list[Line], *, busy: bool, draining: bool
    ) -> tuple[Group, int] | None:
        """The group to run now and its gear, or None to wait; the first group is that of the leader."""
        waiting, group = self._waiting, first
        if self._closings is None:
            if busy:
                full = self._full(now, first, lines)
                if full is not None:
                    return full, self._prices[full.bucket].best
                one = self._prices[first.bucket]
                if not (one.costs.overlap and self._opens(now, one.longest_s)):
                    self._shut(now)
                    return None
            if self._deferred and not draining and waiting.with_deadline == waiting.tickets:
                ready = self._ready(now, first, lines)
                if ready is None:
                    return None
                group = ready
        gear = self._choice(now, group.rows, group.bucket)
        if gear != WAIT:
            if busy and self._closings is None:
                one, head = self._prices[group.bucket], group.head
                least = gear if head.large else max(gear, one.cover(head.head.rows))
                if not self._opens(now, one.stages_s[least]):
                    return None
            self.ask_at = inf
            return group, gear
        if not draining:
            if not waiting.with_deadline or (busy and self._closings is not None):
                return None
            groups = all_groups(group, lines, self._prices)
            start, group = forced_start(groups, self._prices, waiting.soonest_latest())
            if now < start:
                self.ask_at = min(self.ask_at, start)
                return None
        self.ask_at = inf
        return group, self._prices[group.bucket].cover(group.rows)

    def _opens(self, now: float, stages: StageSeconds) -> bool:
        """Whether a batch with these stages is to be sealed although another runs; `ask_at` says when, if not now.

        Not if the device would wait for it no longer than the time that is given away by choosing too early; nor if
        the device is overdue and has another one to go on with, for nobody knows then when it goes on.
        """
        if self._forecast.overdue(now):
            return False
        latest = self._forecast.latest_start(stages)
        if self._forecast.back_until - latest <= self._early_s:
            return False
        opening = latest - self._early_s
        if now < opening:
            self.ask_at = opening
            return False
        return True

    def _shut(self, now: float) -> None:
        """Remember that nothing is sealed beside what runs, whoever comes, until the best gear is full.

        With several buckets it hangs on who waits.
        """
        if len(self._prices) == 1 and not self._forecast.overdue(now):
            self._shut_by = self._forecast.changes
            self._shut_ask_at = self.ask_at
            self._shut_until = min(self.ask_at, self._forecast.oldest_back_at)

    def is_shut(self, now: float) -> bool:
        """Whether nothing can be sealed beside what runs, for a reason that `compose` found and that still holds."""
        return (
            self._shut_by == self._forecast.changes
            and now < self._shut_until
            and self._waiting.rows < self._prices[0].best
        )

    def _full(self, now: float, first: Group, lines: list[Line]) -> Group | None:
        """A group that fills its best gear, while the device is busy: the first one if it does.

        Another one may go before the first, once, if that makes its head not late.
        """
        prices = self._prices
        if first.rows >= prices[first.bucket].best:
            return first
        head = first.head.head
        if len(prices) == 1 or first.head.large or head.passed:
            return None
        buckets = {
            bucket
            for bucket, one in enumerate(prices)
            if sum([line.rows for line in lines if bucket in line.fits]) >= one.best
        }
        if not buckets:
            return None
        others = [line for line in lines if line.rows and line is not first.head]
        for line in sorted(others, key=lambda line: line.place):
            if buckets.isdisjoint(line.fits):
                continue
            if line.large and (self._turn is not Turn.EITHER or self._breaks(now, line)):
                continue
            group = group_of(line, lines, prices)
            one = prices[group.bucket]
            in_time = head.latest == inf or self._forecast.back_at(now, one.stages_s[one.best]) <= head.latest
            if group.rows >= one.best and in_time:
                head.passed = True
                return group
        return None

    def _ready(self, now: float, first: Group, lines: list[Line]) -> Group | None:
        """The group that an idle device starts although all deadlines may allow it to wait, or None.

        What fills its best gear starts, unless that makes others late; else whoever must.
        """
        prices = self._prices
        groups = all_groups(first, lines, prices)
        full = [group for group in groups if group.rows >= prices[group.bucket].best]
        others = [group for group in groups if group not in full]
        if not others:
            return first
        start, forced = forced_start(others, prices, self._waiting.soonest_latest())
        for group in full:
            one = prices[group.bucket]
            if self._forecast.back_at(now, one.stages_s[one.best]) <= start:
                return group
        if full or now >= start:
            return forced
        self.ask_at = start
        return None

    def _choice(self, now: float, rows: int, bucket: int) -> int:
        """What the policy says."""
        policy, prices = self._policy, self._prices[bucket]
        oldest_at = self._waiting.oldest_at()
        oldest_ms = (now - oldest_at) * 1e3
        patience_ms = policy.patience_ms
        if patience_ms is not None and now >= oldest_at + patience_ms / 1e3:
            oldest_ms = max(oldest_ms, patience_ms)  # whatever rounding makes of the difference
        gear = policy.choose(
            _new(View, (rows, oldest_ms, self._rate.per_ms(now), bucket, prices.gears, prices.costs))
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
        prices, waiting, cover = self._prices[bucket], self._waiting, self._prices[bucket].cover
        room, until = gear, inf
        if self._closings is not None:
            closing = self._closings[bucket]
            room = min(room, closing.rows)
            until = head.head.offered_at + closing.wait_ms / 1e3
        if not head.large:
            least = head.head.rows
            room = max(room, cover(least) if self._closings is None else least)
        soonest, crowded = waiting.next_latest(now), waiting.rows >= prices.best
        taken, rows = self._take(head, lines, room, until)
        if soonest < inf:
            gear = cover(rows)
            back = self._forecast.back_at(now, prices.stages_s[gear])
            # Most often there is time enough for all that waited.
            if soonest < back and (late := late_in(taken, back)):
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
        if not waiting.large_tickets:
            before = waiting.rows
            taken = waiting.take([line for line in lines if line.rows], room, until)
            return taken, before - waiting.rows
        taken = []
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
        if left > 0:
            before = waiting.rows
            taken += waiting.take_large([line for line in lines if line.large], left, until)
            left -= before - waiting.rows
        return taken, room - max(left, 0)

    def _fill(self, bucket: int, lines: Sequence[Line], room: int, back_at: float) -> list[Ticket]:
        """Tickets of other lines for the padding of a batch, if they are in time with it."""
        waiting = self._waiting
        others = [line for line in waiting.lines if line not in lines and bucket in line.fits]
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
            rows = ticket.rows
            ticket.bucket = bucket
            start = 0
            if ticket.large:
                split = True
                start = ticket.sealed_rows
                rows -= start
                if rows > room - at:
                    rows = room - at
                    ticket.sealed_rows += rows
                    pieces.append(Piece(ticket, start, rows, at))
                    self._waiting.put_back(now, ticket)
                    at = room
                    continue
            ticket.sealed_rows = ticket.rows
            ticket.state = _RUNNING
            pieces.append(_new(Piece, (ticket, start, rows, at)))
            at += rows
        self._waiting.started(taken)
        if split:
            self._turn = Turn.SMALL
        elif self._turn is not _EITHER and self._waiting.large_tickets:
            self._turn = Turn.LARGE
        else:
            self._turn = _EITHER
        return pieces
