"""What is measured of a model's runs, when, and how many slots follow from it. Pure.

Stages are timed by events, two in each stream, because events of different streams cannot be subtracted (facts: pyACL
§6.3). A timed batch costs three more events to record and three pairs to read than one that is not; so warm-up times
every run, and a serving session only some.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from statistics import median, quantiles

from ascend_serve.runtime.gears import Key
from ascend_serve.spec.timing import Stages, Timing

MOST_RUNS = 7
"""Repeats that warm-up takes the median of: enough that three bad ones do not show."""

MOST_MS = 500.0
"""Device time after which warm-up repeats a gear no more, so that a hundred slow gears still start in a minute."""

CLOCK_TICK_MS = 0.001
"""Event times are in microseconds; a run shorter than one still costs something."""

DRIFT = 0.1
"""Share by which a run may differ from what is known before the gear is measured anew: that of re-solving a policy."""

LEAST_SLOTS = 2
"""One is packed and copied in while one runs."""

MOST_SLOTS = 4
"""Each further slot lets a batch be closed earlier than it has to be, and takes pinned memory."""

_FIRST = 4
"""Batches of each gear that are timed from the start, so that the first refinement does not take 32 of them."""

_EVERY = 8
"""Of each gear's later batches one in so many is timed."""


class Sampler:
    """Says which live batches are timed. For one thread."""

    def __init__(self) -> None:
        self._seen: dict[Key, int] = {}

    def wants(self, key: Key) -> bool:
        """Count a batch of this gear; whether it is to be timed."""
        seen = self._seen.get(key, 0)
        self._seen[key] = seen + 1
        return seen < _FIRST or seen % _EVERY == 0


def enough(runs: Sequence[Stages]) -> bool:
    """Whether a gear was run often enough, or long enough, for its timing."""
    return len(runs) >= MOST_RUNS or sum(sum(run) for run in runs) >= MOST_MS


def timing_of(runs: Sequence[Stages]) -> Timing:
    """Medians of the stages, and the distance of compute's quartiles, in milliseconds; at least one run."""
    compute = [run.compute_ms for run in runs]
    low, _, high = quantiles(compute, n=4, method="inclusive") if len(runs) > 1 else (0.0, 0.0, 0.0)
    stages = Stages(
        copy_in_ms=median(run.copy_in_ms for run in runs),
        compute_ms=max(CLOCK_TICK_MS, median(compute)),
        copy_out_ms=median(run.copy_out_ms for run in runs),
    )
    return Timing(stages, high - low, len(runs))


def still_holds(known: Timing, run: Stages) -> bool:
    """Whether each stage of a run takes what is known, within 10 % of the longest one.

    As a policy is solved again: stages that change places with the sum unchanged are other costs.
    """
    most = DRIFT * max(*known.stages, CLOCK_TICK_MS)
    return all(abs(ms - was) <= most for ms, was in zip(run, known.stages, strict=True))


def slots_for(stages: Stages, pack_ms: float, unpack_ms: float) -> int:
    """Slots with which the slowest step of a batch never waits for a free one.

    A batch holds its slot through all five steps, and the slowest has to be fed once in its own length.

    Args:
        stages: of the gear that runs when there is much to do, in milliseconds.
        pack_ms: host time to write its rows into pinned memory.
        unpack_ms: host time to read its results.

    Returns:
        2 to 4.
    """
    steps = (pack_ms, *stages, unpack_ms)
    return max(LEAST_SLOTS, min(MOST_SLOTS, ceil(sum(steps) / max(*steps, CLOCK_TICK_MS))))
