"""`python -m benchmarks scaling`: the policy `capacity` against the best of a grid over Ray Serve's own settings.

Both run in Ray's autoscaler (`benchmarks.scaling_ray`) over one simulated cluster (`benchmarks.scaling_cluster`) and
four loads with fixed seeds (`benchmarks.scaling_traces`). `capacity` has one setting for all of them, its defaults; of
the grid the best setting of each load is chosen afterwards, knowing how it went. Best is, of those whose share of late
rows is within `TOLERANCE` of the least that any has, the one with the fewest NPU-hours.

`--live` also runs a short load through Serve on emulated cards, with `capacity` and with the grid's best.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

from ray.serve.config import AutoscalingConfig

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.optimal import Optimal
from ascend_serve.scaling.bearing import GOOD, Service, bears_per_s, clears_per_s
from ascend_serve.scaling.told import Told
from ascend_serve.serving.fleet.scaling_settings import CapacityScaling
from ascend_serve.spec.gears import Gears
from benchmarks.figures import table
from benchmarks.results import path_of, write
from benchmarks.scaling_cluster import Cluster, Nodes, Ran
from benchmarks.scaling_ray import Autoscaler
from benchmarks.scaling_traces import NAMES, load

NPUS = 8
SEED = 1
SLO_MS = 200.0
MOST_WAITING = 256
START_S = (8.0, 12.0)
MS = {1: 14.0, 2: 20.0, 4: 34.0, 8: 62.0}
"""What the gears take: a model of which a card clears 129 rows a second."""

TARGETS = (2, 3, 4, 6, 8, 12)
DELAYS_S = ((0, 30), (0, 120), (0, 300), (30, 600))
"""Before there are more, and before there are fewer; the last is Serve's default."""

PUSHES_S = ((1, 5), (10, 30))
"""Seconds between two reports, and how far they look back; the last is Serve's default."""

HEADROOMS = (0.0, 0.15, 0.3)
"""Of `capacity`; the first is the default and the one that is judged, the others show what more NPUs buy."""

TOLERANCE = 0.01
"""Shares of late rows nearer to each other than what an SLO of 99 % leaves are taken for equally good."""

GRID, OURS = "serve", "capacity"


class Tried(NamedTuple):
    """One setting under one load.

    Attributes:
        load: its name.
        side: whose policy.
        setting: in words.
        late_share: rows beyond the SLO or refused, of all.
        npu_hours: NPUs held.
        starts: replicas started.
    """

    load: str
    side: str
    setting: str
    late_share: float
    npu_hours: float
    starts: int

    def dominates(self, other: Tried) -> bool:
        """Whether it is no worse in both, and better in one."""
        mine, theirs = (self.late_share, self.npu_hours), (other.late_share, other.npu_hours)
        return mine != theirs and mine[0] <= theirs[0] and mine[1] <= theirs[1]


class Setting(NamedTuple):
    """What an autoscaler is set to.

    Attributes:
        side: whose policy.
        words: the setting, to be read.
        options: of Serve's `autoscaling_config`.
    """

    side: str
    words: str
    options: dict[str, Any]


def settings() -> Iterator[Setting]:
    """The whole grid, and ours."""
    for target, (up_s, down_s), (push_s, look_s) in product(TARGETS, DELAYS_S, PUSHES_S):
        yield Setting(
            GRID,
            f"target {target}, delays {up_s}/{down_s} s, push {push_s} s of {look_s} s",
            {
                "max_replicas": NPUS,
                "target_ongoing_requests": target,
                "upscale_delay_s": up_s,
                "downscale_delay_s": down_s,
                "metrics_interval_s": push_s,
                "look_back_period_s": look_s,
            },
        )
    for headroom in HEADROOMS:
        # There is no cluster to look at for NPUs: `max_replicas` is as many as there are.
        ours = CapacityScaling(
            policy="capacity", slo_ms=SLO_MS, max_replicas=NPUS, headroom=headroom, grow_cluster=True
        )
        yield Setting(OURS, f"headroom {headroom:g}" if headroom else "as it is", ours.for_serve())


@lru_cache(maxsize=1)
def device() -> tuple[Service, Told]:
    """How a card serves, and what a replica on it says that it bears."""
    costs = CostTable.of(Gears.of(MS), MS)
    policy = Optimal().prepared([costs])
    bears = bears_per_s([costs], policy, slo_ms=SLO_MS, good=GOOD)
    told = Told(0.0, 0.0, 0.0, bears, clears_per_s([costs]))
    return Service.of(costs, policy, bears / 1e3), told


def run(name: str, setting: Setting) -> Ran:
    """One setting under one load."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    service, told = device()
    coming = load(name, SEED)
    nodes = Nodes(NPUS, service, SLO_MS / 1e3, START_S, most_waiting=MOST_WAITING, seed=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settings that Serve means to deprecate
        config = AutoscalingConfig(**setting.options)
    cluster = Cluster(nodes, coming.arrivals, coming.seconds)
    return Autoscaler(config, cluster, told).run(coming.seconds)


def _tried(job: tuple[str, Setting]) -> Tried:
    name, setting = job
    ran = run(name, setting)
    return Tried(name, setting.side, setting.words, ran.late_share, ran.npu_hours, ran.starts)


def front(tried: Iterable[Tried]) -> list[Tried]:
    """Those that no other dominates, by NPU-hours."""
    all_of_them = list(tried)
    return sorted(
        (one for one in all_of_them if not any(other.dominates(one) for other in all_of_them)),
        key=lambda one: one.npu_hours,
    )


def best(tried: Sequence[Tried]) -> Tried:
    """Of those with hardly more late rows than the least, the one with the fewest NPU-hours."""
    least = min(one.late_share for one in tried)
    good = [one for one in tried if one.late_share <= least + TOLERANCE]
    return min(good, key=lambda one: (one.npu_hours, one.late_share))


def compare(names: Sequence[str]) -> bool:
    """Run all settings under these loads and print and write what came of it; whether ours dominates in most."""
    _, told = device()
    print(
        f"{NPUS} NPUs, t(gear) ms {MS}: a replica clears {told.clears_per_s:.0f} rows/s and bears "
        f"{told.bears_per_s:.0f} within {SLO_MS:g} ms;\nit takes {START_S[0]:g} to {START_S[1]:g} s to start, and "
        f"{MOST_WAITING} rows may wait in it; seed {SEED}\n"
    )
    jobs = [(name, setting) for name in names for setting in settings()]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        tried = list(pool.map(_tried, jobs, chunksize=2))
    wins = 0
    for name in names:
        grid = [one for one in tried if (one.load, one.side) == (name, GRID)]
        ours = [one for one in tried if (one.load, one.side) == (name, OURS)]
        wins += _told(name, grid, ours)
    print(f"dominates the best of the grid on {wins} of {len(names)} loads")
    if set(names) == set(NAMES):
        _keep(tried, wins)
    return wins >= min(3, len(names))


def _keep(tried: Sequence[Tried], wins: int) -> None:
    """Write the result, and draw it."""
    from benchmarks.scaling_plots import fronts  # matplotlib is slow to come

    write(
        "scaling",
        {
            "npus": NPUS,
            "times_ms": MS,
            "slo_ms": SLO_MS,
            "most_waiting_rows": MOST_WAITING,
            "start_s": START_S,
            "seed": SEED,
            "dominated": wins,
            "tried": [one._asdict() for one in tried],
        },
    )
    loads = {name: [one for one in tried if one.load == name] for name in NAMES}
    fronts(path_of("scaling", ".png"), loads)


def _told(name: str, grid: Sequence[Tried], ours: Sequence[Tried]) -> bool:
    """Print what came of one load; whether the best of the grid is dominated."""
    coming = load(name, SEED)
    _, told = device()
    own, rival = ours[0], best(grid)
    least = len(coming.arrivals) / told.bears_per_s / 3600
    print(f"## {name}: {len(coming.arrivals)} rows in {coming.seconds:g} s, at least {least:.3f} NPU-hours")
    shown = [*front(grid), *([] if rival in front(grid) else [rival]), *ours]
    print(
        table(
            ("setting", "late %", "NPU-hours", "starts", ""),
            [
                (
                    f"{one.side}: {one.setting}",
                    f"{100 * one.late_share:.2f}",
                    f"{one.npu_hours:.3f}",
                    str(one.starts),
                    "best of the grid" if one is rival else "dominated" if own.dominates(one) else "",
                )
                for one in shown
            ],
        )
    )
    beaten = sum(own.dominates(one) for one in grid)
    worse = sum(one.dominates(own) for one in grid)
    wins = own.dominates(rival)
    print(
        f"capacity dominates {beaten} of the grid's {len(grid)} settings, {worse} dominate it; "
        f"the best of the grid it does{'' if wins else ' not'}\n",
        flush=True,
    )
    return wins


def main(arguments: Sequence[str]) -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scaling")
    parser.add_argument("loads", nargs="*", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument(
        "--live", action="store_true", help="a short load through Serve on emulated cards as well"
    )
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.loads if name not in NAMES]:
        parser.error(f"there is no load '{unknown[0]}'; there are {', '.join(NAMES)}")
    begin = time.monotonic()
    compare(options.loads or NAMES)
    if options.live:
        from benchmarks.scaling_live import compare_live

        compare_live()
    print(f"{time.monotonic() - begin:.0f} s")
