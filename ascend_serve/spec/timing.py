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


class DeviceRun(NamedTuple):
    """One run's way through the device, placed in time; told while a replica is traced.

    Attributes:
        slot: that it went through.
        copy_in_at: when its rows began to move to the device, in seconds of `time.monotonic`; on a board, where nothing
            moves, when it began to compute.
        compute_at: when the model began.
        copy_out_at: when its results began to move back; on a board, when the model ended.
        stages: how long each took.
    """

    slot: int
    copy_in_at: float
    compute_at: float
    copy_out_at: float
    stages: Stages

    @property
    def ended_at(self) -> float:
        """When its results were there."""
        return self.copy_out_at + self.stages.copy_out_ms / 1e3
