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
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from ray.serve import metrics as ray_metrics

from ascend_serve import metrics
from ascend_serve.metrics import LE, Metric, Outcome, Tally

_NEXT_TO_NOTHING = sys.float_info.min
"""A counter takes no zero, and a bucket that nobody ever wrote is not there, which moves the quantiles that are read
from its neighbours. This makes it be there, and is lost as soon as anything is added to it."""


def _labels(metric: Metric) -> Any:
    return metric.labels  # Ray's annotation says tuple[str] and means tuple[str, ...]


def _counter(metric: Metric) -> ray_metrics.Counter:
    return ray_metrics.Counter(metric.name, description=metric.help, tag_keys=_labels(metric))


def _gauge(metric: Metric) -> ray_metrics.Gauge:
    return ray_metrics.Gauge(metric.name, description=metric.help, tag_keys=_labels(metric))


class _Histogram:
    """A histogram with at most one label, written as counters."""

    def __init__(self, metric: Metric) -> None:
        self._buckets = _counter(metric.bucket_counter)
        self._sum = _counter(metric.sum_counter)
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
    """A `Recorder` that writes to `ray.serve.metrics`; made inside a replica."""

    def __init__(self) -> None:
        self._requests = _counter(metrics.REQUESTS)
        self._request_rows = _counter(metrics.REQUEST_ROWS)
        self._request_ms = _Histogram(metrics.REQUEST_MS)
        self._queue_wait_ms = _Histogram(metrics.QUEUE_WAIT_MS)
        self._queued_rows = _gauge(metrics.QUEUED_ROWS)
        self._batches = _counter(metrics.BATCHES)
        self._real_rows = _counter(metrics.REAL_ROWS)
        self._padded_rows = _counter(metrics.PADDED_ROWS)
        self._device_ms = _Histogram(metrics.DEVICE_MS)
        # Since the last flush: requests and rows by outcome; batches, real rows and padding by gear.
        self._request_sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._batch_sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])

    def request_refused(self, rows: int) -> None:
        """Count a request that was not accepted."""
        self._count_requests(Outcome.REFUSED, 1, rows)

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

    def batch_ended(self, gear: int, device_ms: float) -> None:
        """Count how long a batch kept the device busy, in milliseconds."""
        self._device_ms.of(str(gear)).add(device_ms)

    def flush(self, queued_rows: int) -> None:
        """Write what came together since the last time, and how many rows wait."""
        self._queued_rows.set(queued_rows)
        for outcome, request_sums in self._request_sums.items():
            _write((self._requests, self._request_rows), request_sums, {"outcome": outcome})
        for gear, batch_sums in self._batch_sums.items():
            _write((self._batches, self._real_rows, self._padded_rows), batch_sums, {"gear": gear})
        for histogram in (self._request_ms, self._queue_wait_ms, self._device_ms):
            histogram.flush()

    def _count_requests(self, outcome: Outcome, requests: int, rows: int) -> None:
        of_outcome = self._request_sums[outcome.value]
        of_outcome[0] += requests
        of_outcome[1] += rows


def _write(counters: Sequence[ray_metrics.Counter], sums: list[int], tags: dict[str, str]) -> None:
    """Add what came together since the last time to the counters, and begin again."""
    for at, counter in enumerate(counters):
        if sums[at]:  # a counter takes no zero
            counter.inc(sums[at], tags)
            sums[at] = 0
