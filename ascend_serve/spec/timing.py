"""What one run takes on the device, stage by stage; measured by `runtime`, weighed by `batching`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Stages(NamedTuple):
    """Milliseconds of one run on the device, from event to event.

    Attributes:
        copy_in_ms: rows from pinned host memory to the device; 0 on a board, which has one memory.
        compute_ms: the model at its gear.
        copy_out_ms: results back to pinned host memory; 0 on a board.
    """

    copy_in_ms: float
    compute_ms: float
    copy_out_ms: float


@dataclass(frozen=True, slots=True)
class Timing:
    """What one gear takes, from repeated runs with nothing beside them.

    Attributes:
        stages: the median of each stage.
        spread_ms: distance of the quartiles of compute; 0 where there was one run.
        runs: how many runs it rests on.
    """

    stages: Stages
    spread_ms: float
    runs: int


GearTimes = Mapping[tuple[int, int], Timing]
"""Timing by (bucket, gear): index into `ModelSpec.buckets`, and rows."""
