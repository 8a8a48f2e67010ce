"""What the engines of a device did and when, from the profile that the device tells. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

COPY_IN, COMPUTE, COPY_OUT = "copy in", "compute", "copy out"
_ENGINES = {"host to device": COPY_IN, "device to host": COPY_OUT}

Spans = dict[str, list[tuple[float, float]]]
"""Engine of the device -> (begin, length) of each task in ms, ascending; 0 is the first one's begin."""


def spans_of(events: Sequence[Mapping[str, object]]) -> Spans:
    """The tasks of a profile's timeline, by engine.

    Args:
        events: the trace viewer's events, as msprof writes them (facts/atc_om_soc.md §5.3).
    """
    found: Spans = {COPY_IN: [], COMPUTE: [], COPY_OUT: []}
    for event in events:
        told = event.get("args")
        if not isinstance(told, Mapping) or "Task Type" not in told:
            continue
        engine = _ENGINES[told["operation"]] if "operation" in told else COMPUTE
        found[engine].append((float(str(event["ts"])), float(str(event["dur"]))))
    first = min((begin for tasks in found.values() for begin, _ in tasks), default=0.0)
    return {
        engine: [((begin - first) / 1e3, length / 1e3) for begin, length in sorted(tasks)]
        for engine, tasks in found.items()
    }


def idle_us(spans: Spans) -> list[float]:
    """Microseconds in which the compute engine rested, between each batch and the next."""
    # What is left below 0 is rounding: tasks of one engine never overlap.
    return [
        max(0.0, 1e3 * (later - begin - length)) for (begin, length), (later, _) in pairwise(spans[COMPUTE])
    ]


def window(spans: Spans, begin_ms: float, length_ms: float) -> Spans:
    """The tasks that begin within a stretch; 0 is the stretch's begin."""
    return {
        engine: [(at - begin_ms, took) for at, took in tasks if begin_ms <= at < begin_ms + length_ms]
        for engine, tasks in spans.items()
    }
