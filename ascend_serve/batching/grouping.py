"""In which bucket the next batch runs, and so who may share it, when the head of the queue fits several.

Short rows may run in a longer bucket, padded. That costs more device time per row, but less than a run of their own
when the longer batch has room to spare. So each way to group the lines that could run together is weighed by the
device time it takes to clear all of them; the work is a few look-ups for each bucket and line, however many wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from ascend_serve.batching.lines import Line, earliest
from ascend_serve.batching.prices import Prices

TINY_MS = 1e-9
"""Differences below it are rounding."""


class Group(NamedTuple):
    """Lines that are planned together.

    Attributes:
        head: the one that leads.
        bucket: index of the shapes that they run with.
        lines: all of them.
        rows: rows of them that wait.
    """

    head: Line
    bucket: int
    lines: list[Line]
    rows: int


def group_of(head: Line, lines: list[Line], prices: Sequence[Prices]) -> Group:
    """The group that a line leads, out of these lines; see `bucket_for`."""
    bucket, joined = (0, lines) if len(prices) == 1 else bucket_for(head, lines, prices)
    return Group(head, bucket, joined, sum([line.rows for line in joined]))


def all_groups(first: Group, lines: list[Line], prices: Sequence[Prices]) -> list[Group]:
    """A first group, and groups of all lines that are not in it, each led by the line whose head is due first."""
    groups = [first]
    rest = [line for line in lines if line not in first.lines]
    while (head := earliest(rest)) is not None:
        groups.append(group_of(head, rest, prices))
        rest = [line for line in rest if line not in groups[-1].lines]
    return groups


def bucket_for(head: Line, lines: Sequence[Line], prices: Sequence[Prices]) -> tuple[int, list[Line]]:
    """The bucket to run the head of the queue in, and the lines that are planned with it.

    A line that is not planned with it is reckoned to run apart, in its cheapest shapes. The lines join in the order
    of what their rows cost apart, the dearest first. Of equal ways the one with the cheaper shapes and fewer lines
    wins.

    Args:
        head: the line whose head decides.
        lines: every line; some may be empty.
        prices: what the gears of each bucket cost.
    """
    wanted = set(head.fits)
    others = [line for line in lines if line.rows and line is not head and not wanted.isdisjoint(line.fits)]
    apart = {line: prices[line.fits[0]].clear_ms(line.rows) for line in others}
    others.sort(key=lambda line: apart[line] / line.rows, reverse=True)
    best, chosen, joined = inf, head.fits[0], [head]
    everything = sum(apart.values())
    for bucket in head.fits:
        clear_ms = prices[bucket].clear_ms
        together, rest, rows = [head], everything, head.rows
        cost = clear_ms(rows) + rest
        if cost < best - TINY_MS:
            best, chosen, joined = cost, bucket, [head]
        for line in others:
            if bucket in line.fits:
                together.append(line)
                rest -= apart[line]
                rows += line.rows
                cost = clear_ms(rows) + rest
                if cost < best - TINY_MS:
                    best, chosen, joined = cost, bucket, list(together)
    return chosen, joined
