"""Every metric of this package, and the `Recorder` that takes what is measured.

The engine reports what happens to a `Recorder`; which system counts it is the business of whoever makes one
(`serving/recorder.py` makes one for Ray's metrics). No metric is named anywhere else. Units are in the names.

A histogram is kept by the recorder and written as two counters (`Metric.bucket_counter`, `Metric.sum_counter`), so that
a value costs nothing but its place among the bounds. `histogram_quantile` takes the first as it takes the buckets of
any histogram: `histogram_quantile(0.99, sum by (le) (rate(ray_ascend_serve_request_ms_bucket_total[1m])))`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

LE = "le"
"""The label that names a bucket's upper bound, as in Prometheus."""


class Kind(Enum):
    """How a metric moves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: full name, with the unit at its end; a counter's ends in `_total`.
        kind: how it moves.
        help: one sentence for a person.
        labels: names of its labels.
        buckets: upper bounds of a histogram's buckets, ascending; empty for other kinds.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def bucket_counter(self) -> Metric:
        """Counts a histogram's values up to each bound, which its last label `le` names, and all of them at `+Inf`."""
        return Metric(f"{self.name}_bucket_total", Kind.COUNTER, self.help, (*self.labels, LE))

    @property
    def sum_counter(self) -> Metric:
        """Adds a histogram's values up."""
        return Metric(f"{self.name}_sum_total", Kind.COUNTER, self.help, self.labels)

    @property
    def bounds(self) -> tuple[str, ...]:
        """What `le` is for each of a histogram's buckets, as Prometheus writes it."""
        return (*(f"{bound:g}" for bound in self.buckets), "+Inf")


class Tally:
    """Values of a histogram that came together; exact in their number and sum.

    Args:
        buckets: upper bounds, ascending.

    Attributes:
        counts: how many values are at most as large as each bound, and larger than the one before; last, how many are
            larger than all.
        total: of the values.
    """

    __slots__ = ("_buckets", "counts", "total")

    def __init__(self, buckets: Sequence[float]) -> None:
        self._buckets = buckets
        self.clear()

    def clear(self) -> None:
        """Begin again."""
        self.counts = [0] * (len(self._buckets) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Take one value."""
        self.counts[bisect_left(self._buckets, value)] += 1
        self.total += value


class Outcome(Enum):
    """How a request ended; the label `outcome`."""

    DONE = "done"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"


MS_BUCKETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 125.0, 250.0, 500.0, 1000.0, 2500.0, 10000.0)
"""From a run of the smallest gear to a queue that is far too long."""

REQUESTS = Metric("ascend_serve_requests_total", Kind.COUNTER, "Requests by how they ended.", ("outcome",))
REQUEST_ROWS = Metric(
    "ascend_serve_request_rows_total", Kind.COUNTER, "Rows by how they ended.", ("outcome",)
)
REQUEST_MS = Metric(
    "ascend_serve_request_ms",
    Kind.HISTOGRAM,
    "Time from the offer of a request to its end, in milliseconds; refused ones are not in it.",
    ("outcome",),
    MS_BUCKETS,
)
QUEUE_WAIT_MS = Metric(
    "ascend_serve_queue_wait_ms",
    Kind.HISTOGRAM,
    "Time from the offer of a request to the sealing of a batch with rows of it, in milliseconds; of each batch, that "
    "of the request that waited longest.",
    buckets=MS_BUCKETS,
)
QUEUED_ROWS = Metric("ascend_serve_queued_rows", Kind.GAUGE, "Rows that wait for a batch.")
BATCHES = Metric("ascend_serve_batches_total", Kind.COUNTER, "Batches sealed, by gear.", ("gear",))
REAL_ROWS = Metric("ascend_serve_real_rows_total", Kind.COUNTER, "Rows of requests in batches.", ("gear",))
PADDED_ROWS = Metric("ascend_serve_padded_rows_total", Kind.COUNTER, "Rows of padding in batches.", ("gear",))
DEVICE_MS = Metric(
    "ascend_serve_device_ms",
    Kind.HISTOGRAM,
    "Time a batch kept the device busy, in milliseconds: from its sealing, or from the end of the batch "
    "before it if that came later, to its end. The sum over all batches is the busy time.",
    ("gear",),
    MS_BUCKETS,
)

CATALOGUE: tuple[Metric, ...] = (
    REQUESTS,
    REQUEST_ROWS,
    REQUEST_MS,
    QUEUE_WAIT_MS,
    QUEUED_ROWS,
    BATCHES,
    REAL_ROWS,
    PADDED_ROWS,
    DEVICE_MS,
)
"""All metrics, in the order in which a reader meets them."""


class Recorder(Protocol):
    """Takes what is measured. Its methods are called on the event loop, most of them once for a whole batch.

    Writing to a metrics system may cost as much as deciding a batch, so a recorder may add up what counts, and write it
    in `flush`.
    """

    def request_refused(self, rows: int) -> None:
        """Note a request of `rows` rows that was not accepted (REQUESTS, REQUEST_ROWS)."""
        ...

    def requests_ended(self, outcome: Outcome, rows: int, times_ms: Sequence[float]) -> None:
        """Note accepted requests that ended together (REQUESTS, REQUEST_ROWS, REQUEST_MS).

        Args:
            outcome: how.
            rows: rows of all of them.
            times_ms: of each, the time since its offer.
        """
        ...

    def batch_sealed(self, gear: int, rows: int, longest_wait_ms: float) -> None:
        """Note a batch of `rows` real rows (BATCHES, REAL_ROWS, PADDED_ROWS, QUEUE_WAIT_MS)."""
        ...

    def batch_ended(self, gear: int, device_ms: float) -> None:
        """Note that a batch came back, well or not (DEVICE_MS)."""
        ...

    def flush(self, queued_rows: int) -> None:
        """Write what was added up, and how many rows wait now (QUEUED_ROWS).

        Called about once a second while there are requests, and once more when there are none.
        """
        ...


class NullRecorder:
    """A `Recorder` that keeps nothing."""

    def request_refused(self, rows: int) -> None:
        """Keep nothing."""

    def requests_ended(self, outcome: Outcome, rows: int, times_ms: Sequence[float]) -> None:
        """Keep nothing."""

    def batch_sealed(self, gear: int, rows: int, longest_wait_ms: float) -> None:
        """Keep nothing."""

    def batch_ended(self, gear: int, device_ms: float) -> None:
        """Keep nothing."""

    def flush(self, queued_rows: int) -> None:
        """Write nothing."""
