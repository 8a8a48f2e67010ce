"""Every metric of this package, and the `Recorder` that takes what is measured.

The engine reports what happens to a `Recorder`; which system counts it is the business of whoever makes one
(`serving/watching/recorder.py` makes one for Ray's metrics). No metric is named anywhere else. Units are in the names.

A histogram is kept by the recorder and written as two counters (`Metric.bucket_counter`, `Metric.sum_counter`), so that
a value costs nothing but its place among the bounds. `histogram_quantile` takes the first as it takes the buckets of
any histogram: `histogram_quantile(0.99, sum by (le) (rate(ray_ascend_serve_request_ms_bucket_total[1m])))`.

Every metric is one model's and has the labels `MODEL_LABELS` before those of its own, but those in `OF_THE_REPLICA`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

Stages = tuple[float, float, float]
"""Milliseconds of copy-in, compute and copy-out of one run; `spec.timing.Stages` is one."""

LE = "le"
"""The label that names a bucket's upper bound, as in Prometheus."""

MODEL_LABELS = ("model", "version")
"""Labels of a model's metrics: the name and version that it is asked for by."""


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
        labels: names of its labels, after `MODEL_LABELS` if it is a model's.
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
REFUSALS = Metric(
    "ascend_serve_refusals_total",
    Kind.COUNTER,
    "Requests that were not accepted, by the rule that refused them.",
    ("reason",),
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

_TIMED = "of the batches that were timed: the first four at each gear, and every eighth."
COPY_IN_MS = Metric(
    "ascend_serve_copy_in_ms",
    Kind.HISTOGRAM,
    f"Time in which rows moved to the device, in milliseconds, {_TIMED}",
    ("gear",),
    MS_BUCKETS,
)
COMPUTE_MS = Metric(
    "ascend_serve_compute_ms",
    Kind.HISTOGRAM,
    f"Time in which the model ran, in milliseconds, {_TIMED}",
    ("gear",),
    MS_BUCKETS,
)
COPY_OUT_MS = Metric(
    "ascend_serve_copy_out_ms",
    Kind.HISTOGRAM,
    f"Time in which results moved back to the host, in milliseconds, {_TIMED}",
    ("gear",),
    MS_BUCKETS,
)
COST_DRIFT = Metric(
    "ascend_serve_cost_drift_ratio",
    Kind.GAUGE,
    "What a gear takes on the device by now, over what it took when the replica warmed up; of several row shapes, that "
    "which moved most.",
    ("gear",),
)
DEVICE_MEMORY_USED = Metric(
    "ascend_serve_device_memory_used_bytes",
    Kind.GAUGE,
    "Memory of the replica's device that is in use, by whomever.",
)
DEVICE_MEMORY = Metric(
    "ascend_serve_device_memory_bytes", Kind.GAUGE, "Memory that the replica's device has."
)

HTTP_ERRORS = Metric(
    "ascend_serve_http_errors_total",
    Kind.COUNTER,
    "Requests over HTTP that were answered with an error, by whatever refused them, by status.",
    ("status",),
)
GRPC_ERRORS = Metric(
    "ascend_serve_grpc_errors_total",
    Kind.COUNTER,
    "Requests over gRPC that were answered with an error, those within streams too, by the name of its code.",
    ("code",),
)

OF_THE_REPLICA = (DEVICE_MEMORY_USED, DEVICE_MEMORY, HTTP_ERRORS, GRPC_ERRORS)
"""Those that tell of the replica or its device and not of a model."""

CATALOGUE: tuple[Metric, ...] = (
    REQUESTS,
    REQUEST_ROWS,
    REFUSALS,
    REQUEST_MS,
    QUEUE_WAIT_MS,
    QUEUED_ROWS,
    BATCHES,
    REAL_ROWS,
    PADDED_ROWS,
    DEVICE_MS,
    COPY_IN_MS,
    COMPUTE_MS,
    COPY_OUT_MS,
    COST_DRIFT,
    *OF_THE_REPLICA,
)
"""All metrics, in the order in which a reader meets them."""


class Recorder(Protocol):
    """Takes what is measured. Its methods are called on the event loop, most of them once for a whole batch.

    Writing to a metrics system may cost as much as deciding a batch, so a recorder may add up what counts, and write it
    in `flush`.
    """

    def request_refused(self, rows: int, reason: str) -> None:
        """Note a request of `rows` rows that was not accepted (REQUESTS, REQUEST_ROWS, REFUSALS).

        Args:
            rows: of the request.
            reason: name of the error's class.
        """
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

    def batch_ended(self, gear: int, device_ms: float, stages: Stages | None) -> None:
        """Note that a batch came back, well or not (DEVICE_MS; COPY_IN_MS, COMPUTE_MS, COPY_OUT_MS).

        Args:
            gear: it ran at.
            device_ms: how long it kept the device busy.
            stages: milliseconds of copy-in, compute and copy-out, if it was timed.
        """
        ...

    def flush(self, queued_rows: int, drift: Mapping[int, float]) -> None:
        """Write what was added up, and how things stand now (QUEUED_ROWS, COST_DRIFT).

        Called about once a second while there are requests, and once more when there are none.

        Args:
            queued_rows: rows that wait.
            drift: by gear, what it takes by now over what it took at warm-up; empty where nothing was measured.
        """
        ...


class NullRecorder:
    """A `Recorder` that keeps nothing."""

    def request_refused(self, rows: int, reason: str) -> None:
        """Keep nothing."""

    def requests_ended(self, outcome: Outcome, rows: int, times_ms: Sequence[float]) -> None:
        """Keep nothing."""

    def batch_sealed(self, gear: int, rows: int, longest_wait_ms: float) -> None:
        """Keep nothing."""

    def batch_ended(self, gear: int, device_ms: float, stages: Stages | None) -> None:
        """Keep nothing."""

    def flush(self, queued_rows: int, drift: Mapping[int, float]) -> None:
        """Write nothing."""
