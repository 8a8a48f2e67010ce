"""What came of a load: latencies, ends, device time and padding; of a simulation, or of what was recorded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple


class Ran(NamedTuple):
    """One batch on the timeline; times in seconds.

    Attributes:
        device: index of the device.
        bucket: the shapes it ran with.
        gear: rows that the device ran.
        rows: rows that were real.
        sealed_at: when it was sealed.
        copy_in_at: when its copy to the device began.
        compute_at: when its compute began.
        copy_out_at: when its copy back began.
        done_at: when its results were back.
    """

    device: int
    bucket: int
    gear: int
    rows: int
    sealed_at: float
    copy_in_at: float
    compute_at: float
    copy_out_at: float
    done_at: float


@dataclass(slots=True)
class Outcome:
    """What came of a trace.

    Attributes:
        latencies_ms: of each answered request, from its arrival to the end of its last batch.
        offered: requests that came.
        refused: requests that were not taken.
        expired: requests whose deadline came while they waited.
        cancelled: requests whose callers left.
        failed: requests with a row in a batch that failed; none in a simulation.
        late: requests answered after their own deadline.
        answered_rows: rows of the answered requests.
        seconds: from 0 to the last event.
        compute_ms: compute of all batches on all devices.
        devices: how many devices there were.
        batches: batches by (bucket, gear).
        batch_rows: real rows in all batches.
        timeline: the batches, when it was asked for.
    """

    latencies_ms: list[float] = field(default_factory=list)
    offered: int = 0
    refused: int = 0
    expired: int = 0
    cancelled: int = 0
    failed: int = 0
    late: int = 0
    answered_rows: int = 0
    seconds: float = 0.0
    compute_ms: float = 0.0
    devices: int = 1
    batches: Counter[tuple[int, int]] = field(default_factory=Counter)
    batch_rows: int = 0
    timeline: list[Ran] = field(default_factory=list)

    @property
    def mean_ms(self) -> float:
        """Mean latency of what was answered; NaN when nothing was."""
        return sum(self.latencies_ms) / len(self.latencies_ms) if self.latencies_ms else float("nan")

    def percentile_ms(self, share: float) -> float:
        """The least latency that `share` of the answered requests do not pass; NaN when nothing was answered."""
        if not self.latencies_ms:
            return float("nan")
        ordered = sorted(self.latencies_ms)
        return ordered[max(0, ceil(share * len(ordered)) - 1)]

    def good_requests(self, slo_ms: float | None) -> int:
        """Requests that were answered within `slo_ms`; with None, those that met their own deadline or had none."""
        if slo_ms is None:
            return len(self.latencies_ms) - self.late
        return sum(ms <= slo_ms for ms in self.latencies_ms)

    def good(self, slo_ms: float | None = None) -> float:
        """`good_requests` as a share of those that came and whose callers stayed; NaN when there is none."""
        counted = self.offered - self.cancelled
        return self.good_requests(slo_ms) / counted if counted else float("nan")

    def goodput_per_s(self, slo_ms: float | None = None) -> float:
        """`good_requests` a second."""
        return self.good_requests(slo_ms) / self.seconds if self.seconds else 0.0

    @property
    def rows_per_s(self) -> float:
        """Rows answered, a second."""
        return self.answered_rows / self.seconds if self.seconds else 0.0

    @property
    def busy(self) -> float:
        """Share of the time in which a device computed, as the mean of the devices."""
        return self.compute_ms / 1e3 / self.seconds / self.devices if self.seconds else 0.0

    @property
    def padding(self) -> float:
        """Share of the rows that were run but not real."""
        run = sum(gear * count for (_, gear), count in self.batches.items())
        return 1 - self.batch_rows / run if run else 0.0
