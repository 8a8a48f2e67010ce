"""Claims about engine and lane in one process: `policy_live`, `in_process`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import uvloop

from benchmarks.arrivals import bursts, poisson
from benchmarks.claims.effort import Effort, Finding, grounds_of
from benchmarks.engine_runs import EngineBench, Run, opened
from benchmarks.figures import Spread, pairwise, percentile
from benchmarks.node import Node, compile_pictures
from benchmarks.quiet import Kept
from benchmarks.rounds import LIMIT_PER_S
from benchmarks.verdicts import at_least, at_most

CLIENTS = 64
SIDES = {"4 KB": 36, "150 KB": 224}
"""Bytes of a row -> pixels of a picture's side. With the first, copies, which no policy spares, are next to nothing."""

POLICY_BOUNDS = {1000: (0.9, 0.79), 1600: (0.7, 0.57)}
"""Rate -> floor and target of the mean latency of `optimal` over that of `pad_up`."""

BURST_MEAN_PER_S, BURST_SWING = 1000, 0.8
"""200 and 1,800 a second in turns."""

BURST_TARGET = 0.73
"""Of the same ratio under bursts, as a study without this code has it; no floor is claimed."""

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


class _Load(NamedTuple):
    """A stream, and the bounds of the ratio under it."""

    name: str
    rate_per_s: int
    in_bursts: bool
    floor: float | None
    target: float

    def due(self, seconds: float, seed: int) -> list[float]:
        """When its rows come, in seconds."""
        if self.in_bursts:
            return bursts(self.rate_per_s, seconds, BURST_SWING, seed)
        return poisson(self.rate_per_s, seconds, seed)


@dataclass(frozen=True, slots=True)
class _Both:
    """Two policies under one stream, one after the other."""

    optimal: Run
    pad_up: Run


def policy_live(node: Node, effort: Effort) -> Finding:
    """Mean latency of `optimal` over `pad_up`, under the same streams, on the real engine."""
    loads = [_Load(f"{rate}/s", rate, False, *bounds) for rate, bounds in POLICY_BOUNDS.items()]
    low, high = (round(BURST_MEAN_PER_S * (1 + sign * BURST_SWING)) for sign in (-1, 1))
    loads.append(_Load(f"bursts of {low} to {high}/s", BURST_MEAN_PER_S, True, None, BURST_TARGET))

    def run(bench: EngineBench, load: _Load, number: int) -> _Both:
        due = load.due(effort.seconds, number)
        # Who runs first changes by round, so that neither has the warmer machine in all of them.
        names = ("optimal", "pad_up") if number % 2 == 0 else ("pad_up", "optimal")
        return _Both(**{name: uvloop.run(bench.open_loop(name, due)) for name in names})

    verdicts, rows = [], []
    for size, side in SIDES.items():
        kept = _in_turn(node, effort, side, loads, run)
        for load in loads:
            rounds = kept[load].rounds
            ratio = pairwise([one.optimal.mean_ms for one in rounds], [one.pad_up.mean_ms for one in rounds])
            claim = f"mean latency of optimal over pad_up at {load.name}, {size} a row"
            verdicts.append(at_most(claim, ratio, load.floor, load.target, grounds=grounds_of([kept[load]])))

            def told(one: _Both, load: _Load = load, size: str = size) -> list[dict[str, Any]]:
                of = {"bursts": load.in_bursts, "row": size}
                return [
                    {**_row(name, load.rate_per_s, getattr(one, name)), **of}
                    for name in ("optimal", "pad_up")
                ]

            rows += _as_rows(kept[load], told)
    return Finding(verdicts, rows)


def in_process(node: Node, effort: Effort) -> Finding:
    """Saturation with rows of 150 KB: share of the device's limit, and CPU for each row."""

    def run(bench: EngineBench, policy: str, number: int) -> Run:
        del number
        return uvloop.run(bench.closed_loop(policy, CLIENTS, effort.seconds))

    kept = _in_turn(node, effort, SIDES["150 KB"], ["optimal"], run)["optimal"]
    grounds = grounds_of([kept])
    share = Spread.of([one.rows_per_s / LIMIT_PER_S for one in kept.rounds])
    cpu = Spread.of([one.cpu_us for one in kept.rounds])
    return Finding(
        [
            at_least("share of the device's limit, in process", share, 0.95, 0.98, digits=3, grounds=grounds),
            at_most("CPU us a row of engine, lane and client", cpu, 120, 60, digits=0, grounds=grounds),
        ],
        _as_rows(kept, lambda one: [_row("optimal", 0, one)]),
    )


def _in_turn(
    node: Node, effort: Effort, side: int, names: Sequence[K], run: Callable[[EngineBench, K, int], R]
) -> dict[K, Kept[R]]:
    with opened(compile_pictures(node, side)) as (lane, report):
        bench = EngineBench(lane, report)
        uvloop.run(bench.learn())
        return effort.alternate(names, lambda name, number: run(bench, name, number))


def _row(policy: str, rate_per_s: float, run: Run) -> dict[str, Any]:
    return {
        "policy": policy,
        "rate_per_s": rate_per_s,
        "rows_per_s": run.rows_per_s,
        "mean_ms": run.mean_ms,
        "p50_ms": percentile(run.latencies_ms, 0.5),
        "p99_ms": percentile(run.latencies_ms, 0.99),
        "cpu_us": run.cpu_us,
        "busy": run.busy,
        "padding": run.padding,
        "refused": run.refused,
    }


def _as_rows(kept: Kept[R], rows: Callable[[R], list[dict[str, Any]]]) -> list[Mapping[str, Any]]:
    return [
        {**row, "pass": number, "counts": counts}
        for number, one, counts in kept.all_rounds
        for row in rows(one)
    ]
