"""Deadlines against the time that a batch takes: whom a gear would be too slow for, and what can be done about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from ascend_serve.batching.forecast import TIMER_LATE_S
from ascend_serve.batching.grouping import Group
from ascend_serve.batching.lines import Line
from ascend_serve.batching.prices import Prices, StageSeconds
from ascend_serve.batching.ticket import Ticket
from ascend_serve.errors import DeadlineUnmet


def check_in_time(has_s: float, rows: int, line: Line, busy_s: float, ahead_s: float) -> None:
    """Refuse a new ticket that cannot be back in time.

    Args:
        has_s: seconds to its deadline.
        rows: how many rows it has.
        line: where it would wait.
        busy_s: seconds until the device could compute it, for what was sealed before.
        ahead_s: seconds of what goes before it, at the best rate.

    Raises:
        DeadlineUnmet: it cannot.
    """
    own_s = line.least_s(rows)
    # It may share a batch with those before it, and its copy in may overlap what runs.
    need_s = max(own_s, busy_s + own_s - line.ahead_s, busy_s + ahead_s + rows * line.row_ns / 1e9)
    if need_s >= has_s:
        raise DeadlineUnmet(
            f"the deadline is {has_s * 1e3:.1f} ms away, but {need_s * 1e3:.1f} ms are needed: "
            f"{busy_s * 1e3:.1f} for what runs, {ahead_s * 1e3:.1f} for what goes before it, at least "
            f"{own_s * 1e3:.1f} for its own {rows} rows",
            retry_after_s=busy_s + ahead_s,
        )


def late_in(taken: Sequence[Ticket], back_at: float) -> list[Ticket]:
    """The tickets whose deadline is before the batch is back."""
    return [one for one in taken if one.deadline is not None and one.deadline < back_at]


def smaller_batch(
    taken: Sequence[Ticket],
    gear: int,
    prices: Prices,
    back_at: Callable[[StageSeconds], float],
    *,
    crowded: bool,
) -> tuple[int, int] | None:
    """The largest smaller gear that is back before all deadlines of those in it: (gear, how many tickets).

    None if there is no such gear, or it is not worth it. Whoever has no room in the smaller batch comes a batch later.
    If that makes more rows late than it saves, the smaller gear is not worth it: in an overload all who wait are near
    their deadlines, and to save the first of them at the price of a full batch makes everybody late in the end
    (facts: peers §4.2, where the head that stands in the way of a full batch is dropped).

    Args:
        taken: the tickets of the batch in order, of which some are late.
        gear: the gear that they are late at.
        prices: what the gears cost.
        back_at: when a batch with given stages would be back, in seconds.
        crowded: whether what waits fills the best gear, so that the next batch is a large one too.
    """
    late = late_in(taken, back_at(prices.stages_s[gear]))
    given_up = sum(min(gear, one.rows - one.sealed_rows) for one in late)
    for smaller in reversed(prices.gears.sizes):
        if smaller >= gear:
            continue
        rows = count = 0
        for ticket in taken:
            left = ticket.rows - ticket.sealed_rows
            if rows + left > smaller and not (ticket.large and rows < smaller):
                break
            rows += min(left, smaller - rows)
            count += 1
        if not count:
            return None  # the first ticket is whole at no gear as small as this
        back = back_at(prices.stages_s[smaller])
        if late_in(taken[:count], back):
            continue
        rest = taken[count:]
        rest_rows = sum(one.rows for one in rest)
        next_gear = gear if crowded else prices.cover(rest_rows)
        made_late = sum(one.rows for one in late_in(rest, back + prices.costs.pace_ms_of(next_gear) / 1e3))
        if made_late < given_up:
            return smaller, count
    return None


def forced_start(groups: Sequence[Group], prices: Sequence[Prices], latest: float) -> tuple[float, Group]:
    """When an idle device must start, in seconds, lest a deadline passes; and the group that is the first to run.

    Before it, one more row in any of the groups would still be in time, so to wait is free (facts: peers §4.3: the
    window opens when the earliest deadline leaves time for one row more, and closes when it leaves time for these).
    Groups do not run together: each leaves time for those after it. It is infinite where nobody has a deadline.

    Args:
        groups: all that waits, at least one group; each is looked at as one batch.
        prices: what the gears of each bucket cost.
        latest: the earliest time by which a ticket must start, even if it needs more batches than one.
    """
    starts = []
    for place, group in enumerate(groups):
        one = prices[group.bucket]
        device_s = max(sum(one.stages_s[one.cover(rows)]) for rows in (group.rows, group.rows + 1))
        takes_s = one.costs.host_ms / 1e3 + device_s
        deadlines = [who.deadline for line in group.lines for _, who in line if who.deadline is not None]
        starts.append((min(deadlines, default=inf) - takes_s - TIMER_LATE_S, place, takes_s))
    starts.sort()
    start = inf
    for own, _, takes_s in reversed(starts):
        start = min(own, start - takes_s)
    return min(start, latest - TIMER_LATE_S), groups[starts[0][1]]
