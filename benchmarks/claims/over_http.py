"""Claims about requests over HTTP: `http_share` at saturation, `open_loop` below it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from benchmarks import sides
from benchmarks.claims.comparing import median_of, ratio, tail
from benchmarks.claims.effort import Effort, Finding, grounds_of
from benchmarks.figures import Spread
from benchmarks.node import COSTS_MS, Node
from benchmarks.quiet import Kept, interleave
from benchmarks.rounds import Bench, Demand, Round, closed, poisson_at
from benchmarks.side_by_side import as_rows, demand_table, full_cast, measured
from benchmarks.sides import ACCOUNTED, BATCH, FAST, HAND, STOCK, Cast, Side
from benchmarks.stage import staged
from benchmarks.verdicts import Verdict, at_least, at_most
from benchmarks.workloads import large

OURS = "ours optimal"
DOORS = ("haproxy", "direct")
SATURATION_WAITS_MS = (0.0, 5.0)
GRID_MS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
"""Waits of `@serve.batch` that are tried, from none to four times Serve's default."""

FINALISTS = 2
"""Waits at each door that are measured in full, after one round of each: one round may be wrong about the best."""

Seen = dict[tuple[Side, Demand], Kept[Round]]


def http_share(node: Node, effort: Effort) -> Finding:
    """At 64 connections and 150 KB: share of the device's limit and CPU for each image, beside all rivals."""
    work, demand = large(node), closed(64)
    cast = full_cast(node, work, ("optimal",), SATURATION_WAITS_MS, SATURATION_WAITS_MS, accounted=True)
    with staged(cast.plans, cast.sides, node) as stage:
        kept = interleave(
            [(side, demand) for side in cast.sides],
            measured(Bench(stage, work, effort.seconds)),
            rounds=effort.rounds,
            most=effort.most,
        )
    verdicts = []
    for door in DOORS:
        mine = kept[_side(cast, f"{OURS} {door}"), demand]
        counted = kept[_side(cast, f"ours {ACCOUNTED} {door}"), demand]
        by_hand = kept[_side(cast, f"{HAND} {door}"), demand]
        rivals = [side for side in cast.sides if not side.name.startswith("ours")]
        fastest = max(rivals, key=lambda side: median_of(kept[side, demand], _limit_share))
        on_path = [side for side in rivals if side.name.endswith(door)]
        leanest, tuned = (
            min(
                (side for side in on_path if side.plan == plan),
                key=lambda side: median_of(kept[side, demand], _server_us),
            )
            for plan in (STOCK, FAST)
        )
        faster = ratio(mine, kept[fastest, demand], _limit_share)
        leaner = ratio(mine, kept[leanest, demand], _server_us)
        beside_tuned = ratio(mine, kept[tuned, demand], _server_us)
        beside_hand = ratio(mine, by_hand, _server_us)
        all_through = ratio(counted, kept[tuned, demand], _server_us)
        grounds, counted_grounds = grounds_of([mine]), grounds_of([counted])
        verdicts += [
            at_least(
                f"share of the device's limit, {door}", _of(mine, _limit_share), 0.93, 0.99, grounds=grounds,
            ),
            at_most(
                f"CPU us an image, all server processes, {door}", _of(mine, _server_us), 430, 300, digits=0,
                grounds=grounds,
            ),
            at_least(
                f"throughput over the fastest rival ({fastest.name}), {door}", faster.figure, 1.0, None,
                grounds=faster.grounds,
            ),
            at_most(
                f"CPU over the best Serve rival's on the same data path ({leanest.name})", leaner.figure, 0.75, 0.5,
                grounds=leaner.grounds,
            ),
            at_most(
                f"the same, when the rival is given our settings ({tuned.name})", beside_tuned.figure, None, None,
                grounds=beside_tuned.grounds,
            ),
            at_most(
                f"CPU over that of a bare replica written by hand, {door}", beside_hand.figure, None, None,
                grounds=beside_hand.grounds,
            ),
            at_least(
                f"share of the device's limit with accounting: serve, {door}", _of(counted, _limit_share), None, None,
                grounds=counted_grounds,
            ),
            at_most(
                f"CPU us an image with accounting: serve, {door}", _of(counted, _server_us), None, None, digits=0,
                grounds=counted_grounds,
            ),
            at_most(
                f"CPU with accounting: serve over the rival's with our settings ({tuned.name})", all_through.figure,
                None, None, grounds=all_through.grounds,
            ),
        ]  # fmt: skip
    missing = [f"{name} not measured: {cause}" for name, cause in cast.absent.items()]
    told = [*missing, _table(kept, cast.sides, demand)]
    return Finding(verdicts, as_rows(kept.values()), "\n".join(told))


def open_loop(node: Node, effort: Effort) -> Finding:
    """Poisson streams: p99 at 80 % beside the best `@serve.batch` of a grid, median at 20 % beside the device."""
    work, cast = large(node), Cast()
    sides.add_fast(cast, node, work, policies=("optimal",), waits_ms=GRID_MS)
    high, low = poisson_at(0.8), poisson_at(0.2)
    grid = [side for side in cast.sides if side.name.startswith(BATCH)]
    with staged(cast.plans, cast.sides, node) as stage:
        measure = measured(Bench(stage, work, effort.seconds))
        probed = interleave([(side, high) for side in grid], measure, rounds=1, most=2)
        rivals = {door: _finalists(probed, door) for door in DOORS}
        shown = [side for door in DOORS for side in (*rivals[door], _side(cast, f"{OURS} {door}"))]
        pairs = [(side, demand) for demand in (high, low) for side in shown]
        kept = interleave(pairs, measure, rounds=effort.rounds, most=effort.most)
    verdicts: list[Verdict] = []
    for door in DOORS:
        mine = {demand: kept[_side(cast, f"{OURS} {door}"), demand] for demand in (high, low)}
        best = min(rivals[door], key=lambda side: tail(kept[side, high]))
        beside = ratio(mine[high], kept[best, high], _p99_ms)
        verdicts += [
            at_most(
                f"p99 at 80 % over the best @serve.batch's ({best.name})", beside.figure, 0.7, 0.5,
                grounds=beside.grounds,
            ),
            at_most(
                f"median ms at 20 % above the device time of one row, {door}",
                _of(mine[low], lambda one: one.p50_ms - COSTS_MS[1]), 2.5, 1.5, grounds=grounds_of([mine[low]]),
            ),
        ]  # fmt: skip
        verdicts += [
            at_most(f"our {what} ms, {demand.name}, {door}", _of(rounds, value), None, None, 1, grounds_of([rounds]))
            for demand, rounds in mine.items()
            for what, value in (("median", _p50_ms), ("p99", _p99_ms))
        ]  # fmt: skip
    told = [
        f"one round of each wait; the best {FINALISTS} at each door are measured in full",
        _table(probed, grid, high),
        *(_table(kept, shown, demand) for demand in (high, low)),
    ]
    rows = [{**row, "probe": True, "counts": False} for row in as_rows(probed.values())]
    return Finding(verdicts, rows + as_rows(kept.values()), "\n".join(told))


def _finalists(probed: Seen, door: str) -> list[Side]:
    """The sides at a door that did best."""
    at_door = {side: kept for (side, _), kept in probed.items() if side.name.endswith(door)}
    return sorted(at_door, key=lambda side: tail(at_door[side]))[:FINALISTS]


def _limit_share(one: Round) -> float:
    return one.limit_share


def _server_us(one: Round) -> float:
    return one.server_us


def _p50_ms(one: Round) -> float:
    return one.p50_ms


def _p99_ms(one: Round) -> float:
    return one.p99_ms


def _side(cast: Cast, name: str) -> Side:
    return next(side for side in cast.sides if side.name == name)


def _of(kept: Kept[Round], value: Callable[[Round], float]) -> Spread:
    return Spread.of([value(one) for one in kept.rounds])


def _table(kept: Seen, shown: Iterable[Side], demand: Demand) -> str:
    return f"## {demand.name}\n\n{demand_table(kept, shown, demand)}\n"
