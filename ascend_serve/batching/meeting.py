"""Deadlines against the time that a batch takes: whom a gear would be too slow for, and what can be done about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from ascend_serve.batching.prices import Prices, StageSeconds
from ascend_serve.batching.ticket import Ticket
from ascend_serve.batching.waiting import Line

WAKING_S = 0.001
"""How late a timer may ring: a batch that was deferred on purpose is not to miss its deadline by that."""


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
        next_gear = gear if crowded else prices.gears.cover(rest_rows)
        made_late = sum(one.rows for one in late_in(rest, back + max(prices.stages_s[next_gear])))
        if made_late < given_up:
            return smaller, count
    return None


def deferred_until(lines: Sequence[Line], rows: int, prices: Prices) -> float:
    """When a batch of the `rows` rows of these lines must start although it is not full, in seconds.

    Before it, one more row would still be in time, so to wait is free (facts: peers §4.3: the window opens when the
    earliest deadline leaves time for one row more, and closes when it leaves time for these).
    """
    deadlines = [one.deadline for line in lines for _, _, one in line if one.deadline is not None]
    cover = prices.gears.cover
    takes_s = max(sum(prices.stages_s[cover(rows)]), sum(prices.stages_s[cover(rows + 1)]))
    return min(deadlines, default=inf) - takes_s - WAKING_S
