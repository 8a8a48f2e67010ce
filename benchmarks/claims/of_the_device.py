"""Claims about the device's own time: `pipeline` with equal stages, `turnaround` between two full batches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks import plots
from benchmarks.claims.effort import Effort, Finding, grounds_of
from benchmarks.device_runs import Driven, driven
from benchmarks.figures import Spread, table
from benchmarks.mirror import compile_mirror, equal_stages
from benchmarks.node import ROOT, Node, compile_pictures
from benchmarks.quiet import Kept
from benchmarks.results import path_of
from benchmarks.rounds import LIMIT_PER_S
from benchmarks.timeline import idle_us, window
from benchmarks.verdicts import at_least, at_most

ENGINE, SERIAL = "ours", "one call after another"
_PIPELINE_CLIENTS = 192
"""Twelve of the largest gear: rows wait although every slot is full."""

_THIRD = 0.34
"""Of one stage's rate, rounded up: all that there is for three equal stages one after the other."""

_PICTURE_MS = (200.0, 60.0)
"""Where the picture of the timeline begins, after the first rows have filled the slots, and how much it shows."""


def pipeline(node: Node, effort: Effort) -> Finding:
    """Copy in, compute and copy out of equal length: the share of one stage's rate that is reached."""
    path, times = compile_mirror(node), str(equal_stages(node))
    kept = _drive(
        effort,
        path,
        {"ASCEND_EMULATOR_NODE": "mirror", "ASCEND_EMULATOR_TIMES": times},
        slots=0,
        clients=_PIPELINE_CLIENTS,
    )
    ours, serial = (
        Spread.of([one.rows_per_s / LIMIT_PER_S for one in kept[how].rounds]) for how in (ENGINE, SERIAL)
    )
    slots = kept[ENGINE].rounds[0].slots
    claim = f"share of the slowest stage's rate, three equal stages, {slots} slots chosen"
    told = table(
        ("three equal stages", "of one stage's rate"), [(ENGINE, ours.show(3)), (SERIAL, serial.show(3))]
    )
    grounds = grounds_of(list(kept.values()))
    verdicts = [
        at_least(claim, ours, 0.90, 0.95, digits=3, grounds=grounds),
        at_most(f"the same of {SERIAL}, a third at best", serial, None, _THIRD, grounds=grounds),
    ]
    return Finding(verdicts, _as_rows(kept), told)


def turnaround(node: Node, effort: Effort) -> Finding:
    """Microseconds in which the device rests between two full batches at saturation, and a picture of it."""
    path = compile_pictures(node).fetch()
    kept = _drive(effort, path, {"ASCEND_EMULATOR_NODE": "turnaround"}, slots=2, clients=64)
    ours, serial = (
        Spread.of([median(idle_us(one.spans)) for one in kept[how].rounds]) for how in (ENGINE, SERIAL)
    )
    picture = path_of("timeline", ".png")
    plots.timeline(
        picture,
        "the device's engines at saturation, 150 KB rows, gear 16",
        {how: window(kept[how].rounds[-1].spans, *_PICTURE_MS) for how in (ENGINE, SERIAL)},
    )
    whole = {how: Spread.of([fmean(idle_us(one.spans)) for one in mine.rounds]) for how, mine in kept.items()}
    told = table(
        ("device idle between batches", "us, median of each round", "us, mean"),
        [
            (ENGINE, ours.show(0), whole[ENGINE].show(0)),
            (SERIAL, serial.show(0), whole[SERIAL].show(0)),
        ],
    )
    verdict = at_most(
        "us that the device rests between two full batches",
        ours,
        None,
        100,
        digits=0,
        grounds=grounds_of(list(kept.values())),
    )
    return Finding([verdict], _as_rows(kept), f"{told}\npicture: {picture.relative_to(ROOT)}")


def _drive(
    effort: Effort, path: Path, environment: Mapping[str, str], *, slots: int, clients: int
) -> dict[str, Kept[Driven]]:
    def run(how: str, number: int) -> Driven:
        del number
        name = "engine" if how == ENGINE else "serial"
        return driven(
            name, path, slots=slots, clients=clients, seconds=effort.seconds, environment=environment
        )

    return effort.alternate([ENGINE, SERIAL], run)


def _as_rows(kept: Mapping[str, Kept[Driven]]) -> list[Mapping[str, Any]]:
    return [
        {
            "how": how,
            "slots": one.slots,
            "rows_per_s": one.rows_per_s,
            "idle_us_median": median(idle_us(one.spans)),
            "idle_us_most": max(idle_us(one.spans)),
            "pass": number,
            "counts": counts,
        }
        for how, mine in kept.items()
        for number, one, counts in mine.all_rounds
    ]
