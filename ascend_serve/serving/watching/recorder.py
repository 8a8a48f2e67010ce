"""The catalogue of metrics on Ray Serve's own instruments.

Ray adds the labels deployment, replica and application by itself, and exports everything with the prefix `ray_`.

One write to an instrument costs 3 to 5 µs, and a value that Ray's own histogram takes costs as much again three times
over in the node's agent, which replays every single one at the middle of its bucket
(ray/_private/telemetry/open_telemetry_metric_recorder.py). So everything is added up here and written as counters when
the engine says `flush`, histograms too: the cost is one of each flush and not of each request, and sums are exact.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, TypeVar

from ray.serve import metrics as ray_metrics

from ascend_serve import metrics
from ascend_serve.metrics import LE, Metric, Outcome, Stages, Tally

_NEXT_TO_NOTHING = sys.float_info.min
"""A counter takes no zero, and a bucket that nobody ever wrote is not there, which moves the quantiles that are read
from its neighbours. This makes it be there, and is lost as soon as anything is added to it."""


Instrument = TypeVar("Instrument", ray_metrics.Counter, ray_metrics.Gauge)


def _made(kind: type[Instrument], metric: Metric, model: dict[str, str]) -> Instrument:
    """The instrument of a metric; the labels of every write hold which model it is of."""
    # Ray's annotation says tuple[str] and means tuple[str, ...].
    labels: Any = (*model, *metric.labels)
    instrument = kind(metric.name, description=metric.help, tag_keys=labels)
    instrument.set_default_tags(dict(model))  # Ray writes its own into what it is given
    return instrument


class _Histogram:
    """A histogram with at most one label of its own, written as counters."""

    def __init__(self, metric: Metric, model: dict[str, str]) -> None:
        self._buckets = _made(ray_metrics.Counter, metric.bucket_counter, model)
        self._sum = _made(ray_metrics.Counter, metric.sum_counter, model)
        self._labels = metric.labels
        self._bounds = metric.bounds
        self._tallies: dict[tuple[str, ...], Tally] = defaultdict(lambda: Tally(metric.buckets))
        self._begun: set[tuple[str, ...]] = set()

    def of(self, *labels: str) -> Tally:
        """Takes the values at these labels."""
        return self._tallies[labels]

    def flush(self) -> None:
        """Write what came together since the last time, and begin again."""
        for labels, tally in self._tallies.items():
            if any(tally.counts):
                self._write(labels, tally)
                tally.clear()

    def _write(self, labels: tuple[str, ...], tally: Tally) -> None:
        tags = dict(zip(self._labels, labels, strict=True))
        least = 0.0 if labels in self._begun else _NEXT_TO_NOTHING
        self._begun.add(labels)
        for bound, count in zip(self._bounds, accumulate(tally.counts), strict=True):
            if more := count or least:
                self._buckets.inc(more, {**tags, LE: bound})
        if tally.total:
            self._sum.inc(tally.total, tags)


class ServeRecorder:
    """A `Recorder` that writes to `ray.serve.metrics`; made inside a replica, one for each of its models.

    Args:
        name: of the model.
        version: of the model.
    """

    def __init__(self, name: str, version: str) -> None:
        model = dict(zip(metrics.MODEL_LABELS, (name, version), strict=True))
        counter = partial(_made, ray_metrics.Counter, model=model)
        self._requests = counter(metrics.REQUESTS)
        self._request_rows = counter(metrics.REQUEST_ROWS)
        self._request_ms = _Histogram(metrics.REQUEST_MS, model)
        self._queue_wait_ms = _Histogram(metrics.QUEUE_WAIT_MS, model)
        self._queued_rows = _made(ray_metrics.Gauge, metrics.QUEUED_ROWS, model)
        self._batches = counter(metrics.BATCHES)
        self._real_rows = counter(metrics.REAL_ROWS)
        self._padded_rows = counter(metrics.PADDED_ROWS)
        self._refusals = counter(metrics.REFUSALS)
        self._device_ms = _Histogram(metrics.DEVICE_MS, model)
        self._stages_ms = [
            _Histogram(metric, model)
            for metric in (metrics.COPY_IN_MS, metrics.COMPUTE_MS, metrics.COPY_OUT_MS)
        ]
        self._drift = _made(ray_metrics.Gauge, metrics.COST_DRIFT, model)
        self._refusal_sums: dict[str, list[int]] = defaultdict(lambda: [0])
        # Since the last flush: requests and rows by outcome; batches, real rows and padding by gear.
        self._request_sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._batch_sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])

    def request_refused(self, rows: int, reason: str) -> None:
        """Count a request that was not accepted, and why."""
        self._count_requests(Outcome.REFUSED, 1, rows)
        self._refusal_sums[reason][0] += 1

    def requests_ended(self, outcome: Outcome, rows: int, times_ms: Sequence[float]) -> None:
        """Count the end of accepted requests and their times, in milliseconds."""
        self._count_requests(outcome, len(times_ms), rows)
        tally = self._request_ms.of(outcome.value)
        for ms in times_ms:
            tally.add(ms)

    def batch_sealed(self, gear: int, rows: int, longest_wait_ms: float) -> None:
        """Count a batch, its rows, its padding, and what its requests waited at most, in milliseconds."""
        of_gear = self._batch_sums[str(gear)]
        of_gear[0] += 1
        of_gear[1] += rows
        of_gear[2] += gear - rows
        self._queue_wait_ms.of().add(longest_wait_ms)

    def batch_ended(self, gear: int, device_ms: float, stages: Stages | None) -> None:
        """Count how long a batch kept the device busy, and its stages if it was timed, in milliseconds."""
        self._device_ms.of(str(gear)).add(device_ms)
        if stages is not None:
            for histogram, ms in zip(self._stages_ms, stages, strict=True):
                histogram.of(str(gear)).add(ms)

    def flush(self, queued_rows: int, drift: Mapping[int, float]) -> None:
        """Write what came together since the last time, how many rows wait, and how far the gears' costs have moved."""
        self._queued_rows.set(queued_rows)
        for measured, ratio in drift.items():
            self._drift.set(ratio, {"gear": str(measured)})
        for reason, refusal_sums in self._refusal_sums.items():
            _write((self._refusals,), refusal_sums, {"reason": reason})
        for outcome, request_sums in self._request_sums.items():
            _write((self._requests, self._request_rows), request_sums, {"outcome": outcome})
        for gear, batch_sums in self._batch_sums.items():
            _write((self._batches, self._real_rows, self._padded_rows), batch_sums, {"gear": gear})
        for histogram in (self._request_ms, self._queue_wait_ms, self._device_ms, *self._stages_ms):
            histogram.flush()

    def _count_requests(self, outcome: Outcome, requests: int, rows: int) -> None:
        of_outcome = self._request_sums[outcome.value]
        of_outcome[0] += requests
        of_outcome[1] += rows


class DeviceRecorder:
    """Writes what is the device's and no model's; made inside a replica."""

    def __init__(self) -> None:
        self._used = _made(ray_metrics.Gauge, metrics.DEVICE_MEMORY_USED, {})
        self._total = _made(ray_metrics.Gauge, metrics.DEVICE_MEMORY, {})

    def memory(self, free_bytes: int, total_bytes: int) -> None:
        """Note how much memory of the device is free, by whomever the rest is used."""
        self._used.set(total_bytes - free_bytes)
        self._total.set(total_bytes)


class DoorRecorder:
    """Writes what becomes of requests at a door, whichever model they are for; made inside a replica."""

    def __init__(self) -> None:
        self._errors = _made(ray_metrics.Counter, metrics.HTTP_ERRORS, {})
        self._grpc_errors = _made(ray_metrics.Counter, metrics.GRPC_ERRORS, {})

    def failed(self, status: int) -> None:
        """Count a request over HTTP that was answered with an error."""
        self._errors.inc(1, {"status": str(status)})

    def grpc_failed(self, code: str) -> None:
        """Count a request over gRPC that was answered with an error."""
        self._grpc_errors.inc(1, {"code": code})


def _write(counters: Sequence[ray_metrics.Counter], sums: list[int], tags: dict[str, str]) -> None:
    """Add what came together since the last time to the counters, and begin again."""
    for at, counter in enumerate(counters):
        if sums[at]:  # a counter takes no zero
            counter.inc(sums[at], tags)
            sums[at] = 0
