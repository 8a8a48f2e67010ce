"""Claims about requests over HTTP: `http_share` at saturation, `open_loop` below it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median

from benchmarks import sides
from benchmarks.claims.effort import Effort, Finding, quiet_note
from benchmarks.figures import Spread, pairwise
from benchmarks.node import COSTS_MS, Node
from benchmarks.quiet import Kept, interleave
from benchmarks.rounds import Bench, Demand, Round, closed, poisson_at
from benchmarks.side_by_side import as_rows, demand_table, full_cast, measured
from benchmarks.sides import BATCH, FAST, HAND, STOCK, Cast, Side
from benchmarks.stage import staged
from benchmarks.verdicts import Verdict, at_least, at_most
from benchmarks.workloads import Workload, large

OURS = "ours optimal"
DOORS = ("haproxy", "direct")
SATURATION_WAITS_MS = (0.0, 5.0)
GRID_MS = (0.0, 1.0, 2.0, 5.0, 10.0)
"""Waits of `@serve.batch` that are tried, from none to Serve's default."""

Seen = dict[tuple[Side, Demand], Kept[Round]]


def http_share(node: Node, effort: Effort) -> Finding:
    """At 64 connections and 150 KB: share of the device's limit and CPU for each image, beside all rivals."""
    work, demand = large(node), closed(64)
    cast = full_cast(node, work, ("optimal",), SATURATION_WAITS_MS, SATURATION_WAITS_MS)
    kept = _measure(node, work, cast, cast.sides, [demand], effort)
    verdicts = []
    for door in DOORS:
        ours = _side(cast, f"{OURS} {door}")
        mine = kept[ours, demand]
        rivals = [side for side in cast.sides if not side.name.startswith("ours")]
        fastest = max(rivals, key=lambda side: _median(kept[side, demand], lambda one: one.limit_share))
        on_path = [side for side in rivals if side.name.endswith(door)]
        leanest, tuned = (
            min(
                (side for side in on_path if side.plan == plan),
                key=lambda side: _median(kept[side, demand], lambda one: one.server_us),
            )
            for plan in (STOCK, FAST)
        )
        note = quiet_note([kept[ours, demand], kept[fastest, demand], kept[leanest, demand]])
        verdicts += [
            at_least(
                f"share of the device's limit, {door}", _of(mine, lambda one: one.limit_share), 0.93, 0.99,
                note=note,
            ),
            at_most(
                f"CPU us an image, all server processes, {door}", _of(mine, lambda one: one.server_us), 430,
                300, digits=0, note=note,
            ),
            at_least(
                f"throughput over the fastest rival ({fastest.name}), {door}",
                _ratio(mine, kept[fastest, demand], lambda one: one.limit_share), 1.0, None, note=note,
            ),
            at_most(
                f"CPU over the best Serve rival's on the same data path ({leanest.name})",
                _ratio(mine, kept[leanest, demand], lambda one: one.server_us), 0.75, 0.5, note=note,
            ),
            at_most(
                f"the same, when the rival is given our settings of Serve ({tuned.name})",
                _ratio(mine, kept[tuned, demand], lambda one: one.server_us), None, None,
            ),
            at_most(
                f"CPU over that of a bare replica written by hand, {door}",
                _ratio(mine, kept[_side(cast, f"{HAND} {door}"), demand], lambda one: one.server_us), None, None,
            ),
        ]  # fmt: skip
    return Finding(verdicts, as_rows(kept.values()), _tables(kept, cast, [demand]))


def open_loop(node: Node, effort: Effort) -> Finding:
    """Poisson streams: p99 at 80 % beside the best `@serve.batch` of a grid, median at 20 % beside the device."""
    work, cast = large(node), Cast()
    sides.add_fast(cast, node, work, policies=("optimal",), waits_ms=GRID_MS)
    high, low = poisson_at(0.8), poisson_at(0.2)
    kept = _measure(node, work, cast, cast.sides, [high, low], effort)
    verdicts: list[Verdict] = []
    for door in DOORS:
        ours = _side(cast, f"{OURS} {door}")
        grid = [side for side in cast.sides if side.name.startswith(BATCH) and side.name.endswith(door)]
        best = min(grid, key=lambda side: _median(kept[side, high], lambda one: one.p99_ms))
        verdicts += [
            at_most(
                f"p99 at 80 % over the best @serve.batch's ({best.name})",
                _ratio(kept[ours, high], kept[best, high], lambda one: one.p99_ms), 0.7, 0.5,
                note=quiet_note([kept[ours, high], kept[best, high]]),
            ),
            at_most(
                f"median ms at 20 % above the device time of one row, {door}",
                _of(kept[ours, low], lambda one: one.p50_ms - COSTS_MS[1]), 2.5, 1.5,
                note=quiet_note([kept[ours, low]]),
            ),
        ]  # fmt: skip
    return Finding(verdicts, as_rows(kept.values()), _tables(kept, cast, [high, low]))


def _measure(
    node: Node,
    work: Workload,
    cast: Cast,
    all_sides: Sequence[Side],
    demands: Sequence[Demand],
    effort: Effort,
) -> Seen:
    with staged(cast.plans, all_sides, node) as stage:
        return interleave(
            [(side, demand) for demand in demands for side in all_sides],
            measured(Bench(stage, work, effort.seconds)),
            rounds=effort.rounds,
            most=effort.most,
        )


def _side(cast: Cast, name: str) -> Side:
    return next(side for side in cast.sides if side.name == name)


def _of(kept: Kept[Round], value: Callable[[Round], float]) -> Spread:
    return Spread.of([value(one) for one in kept.rounds])


def _median(kept: Kept[Round], value: Callable[[Round], float]) -> float:
    return median(value(one) for one in kept.rounds)


def _ratio(ours: Kept[Round], theirs: Kept[Round], value: Callable[[Round], float]) -> Spread:
    """Round by round, as far as both have quiet rounds; no ratio to what never ended is above 0."""
    pairs = list(zip(ours.rounds, theirs.rounds, strict=False))
    return pairwise(
        [value(mine) if math.isfinite(value(other)) else 0.0 for mine, other in pairs],
        [value(other) if math.isfinite(value(other)) else 1.0 for _, other in pairs],
    )


def _tables(kept: Seen, cast: Cast, demands: Sequence[Demand]) -> str:
    missing = [f"{name} not measured: {cause}" for name, cause in cast.absent.items()]
    return "\n".join(
        [*missing, *(f"## {demand.name}\n\n{demand_table(kept, cast, demand)}\n" for demand in demands)]
    )
