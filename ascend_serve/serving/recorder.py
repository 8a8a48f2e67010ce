"""The catalogue of metrics on Ray Serve's own instruments.

Ray adds the labels deployment, replica and application by itself, and exports everything with the prefix `ray_`.
"""

from __future__ import annotations

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

    def request_refused(self, rows: int) -> None:
        """Count a request that was not accepted."""
        self._count_request(Outcome.REFUSED, rows)

    def request_ended(self, outcome: Outcome, rows: int, ms: float) -> None:
        """Count the end of an accepted request and its time, in milliseconds."""
        self._count_request(outcome, rows)
        self._request_ms.observe(ms, {"outcome": outcome.value})

    def batch_sealed(self, gear: int, rows: int, waits_ms: Sequence[float]) -> None:
        """Count a batch, its rows, its padding, and what its requests waited, in milliseconds."""
        tags = {"gear": str(gear)}
        self._batches.inc(1, tags)
        self._real_rows.inc(rows, tags)
        if gear > rows:  # a counter takes no zero
            self._padded_rows.inc(gear - rows, tags)
        for wait_ms in waits_ms:
            self._queue_wait_ms.observe(wait_ms)

    def batch_ended(self, gear: int, device_ms: float) -> None:
        """Record how long a batch kept the device busy, in milliseconds."""
        self._device_ms.observe(device_ms, {"gear": str(gear)})

    def queued_rows(self, rows: int) -> None:
        """Record how many rows wait."""
        self._queued_rows.set(rows)

    def _count_request(self, outcome: Outcome, rows: int) -> None:
        tags = {"outcome": outcome.value}
        self._requests.inc(1, tags)
        self._request_rows.inc(rows, tags)
