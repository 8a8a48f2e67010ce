"""The catalogue of metrics on Ray Serve's own instruments.

Ray adds the labels deployment, replica and application by itself, and exports everything with the prefix `ray_`.

One write to an instrument costs 3 to 5 µs. So counters are added up here and written when the engine says `flush`, a
few times a second; histograms take single values only, and are written at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ray.serve import metrics as ray_metrics

from ascend_serve import metrics
from ascend_serve.metrics import Metric, Outcome


def _labels(metric: Metric) -> Any:
    return metric.labels  # Ray's annotation says tuple[str] and means tuple[str, ...]


def _counter(metric: Metric) -> ray_metrics.Counter:
    return ray_metrics.Counter(metric.name, description=metric.help, tag_keys=_labels(metric))


def _gauge(metric: Metric) -> ray_metrics.Gauge:
    return ray_metrics.Gauge(metric.name, description=metric.help, tag_keys=_labels(metric))


def _histogram(metric: Metric) -> ray_metrics.Histogram:
    return ray_metrics.Histogram(
        metric.name, description=metric.help, boundaries=list(metric.buckets), tag_keys=_labels(metric)
    )


class ServeRecorder:
    """A `Recorder` that writes to `ray.serve.metrics`; made inside a replica."""

    def __init__(self) -> None:
        self._requests = _counter(metrics.REQUESTS)
        self._request_rows = _counter(metrics.REQUEST_ROWS)
        self._request_ms = _histogram(metrics.REQUEST_MS)
        self._queue_wait_ms = _histogram(metrics.QUEUE_WAIT_MS)
        self._queued_rows = _gauge(metrics.QUEUED_ROWS)
        self._batches = _counter(metrics.BATCHES)
        self._real_rows = _counter(metrics.REAL_ROWS)
        self._padded_rows = _counter(metrics.PADDED_ROWS)
        self._device_ms = _histogram(metrics.DEVICE_MS)
        # Since the last flush: requests and rows by outcome; batches, real rows and padding by gear.
        self._request_sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._batch_sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])

    def request_refused(self, rows: int) -> None:
        """Count a request that was not accepted."""
        self._count_requests(Outcome.REFUSED, 1, rows)

    def requests_ended(self, outcome: Outcome, rows: int, times_ms: Sequence[float]) -> None:
        """Count the end of accepted requests and their times, in milliseconds."""
        self._count_requests(outcome, len(times_ms), rows)
        tags = {"outcome": outcome.value}
        for ms in times_ms:
            self._request_ms.observe(ms, tags)

    def batch_sealed(self, gear: int, rows: int, longest_wait_ms: float) -> None:
        """Count a batch, its rows, its padding, and what its requests waited at most, in milliseconds."""
        of_gear = self._batch_sums[str(gear)]
        of_gear[0] += 1
        of_gear[1] += rows
        of_gear[2] += gear - rows
        self._queue_wait_ms.observe(longest_wait_ms)

    def batch_ended(self, gear: int, device_ms: float) -> None:
        """Record how long a batch kept the device busy, in milliseconds."""
        self._device_ms.observe(device_ms, {"gear": str(gear)})

    def flush(self, queued_rows: int) -> None:
        """Write the sums of all counters, and how many rows wait."""
        self._queued_rows.set(queued_rows)
        for outcome, request_sums in self._request_sums.items():
            _write((self._requests, self._request_rows), request_sums, {"outcome": outcome})
        for gear, batch_sums in self._batch_sums.items():
            _write((self._batches, self._real_rows, self._padded_rows), batch_sums, {"gear": gear})

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
