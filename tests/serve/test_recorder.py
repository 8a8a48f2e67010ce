"""What reaches Ray's instruments, told by instruments that keep what they are told."""

from collections import Counter
from typing import ClassVar

import pytest

from ascend_serve.metrics import CATALOGUE, Kind, Outcome, Recorder

pytestmark = pytest.mark.serve


class Instrument:
    """Any of Ray's instruments."""

    told: ClassVar[list] = []

    def __init__(self, name, description="", boundaries=None, tag_keys=()):
        self.name, self.tag_keys = name, tag_keys

    def inc(self, value=1.0, tags=None):
        assert value > 0, "Ray's counters refuse a zero"
        self.keep(value, tags)

    def set(self, value, tags=None):
        self.keep(value, tags)

    def observe(self, value, tags=None):
        self.keep(value, tags)

    def keep(self, value, tags):
        assert set(tags or {}) == set(self.tag_keys)
        self.told.append((self.name, tuple((tags or {}).values()), value))


@pytest.fixture
def recorder(told) -> Recorder:
    from ascend_serve.serving.recorder import ServeRecorder

    return ServeRecorder()


@pytest.fixture
def told(monkeypatch):
    """Everything that the instruments are told, in its order: (name, labels, value)."""
    from ray.serve import metrics as ray_metrics

    monkeypatch.setattr(Instrument, "told", [])
    for kind in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(ray_metrics, kind, Instrument)
    return Instrument.told


def sums(told):
    """What counters add up to."""
    counters = {metric.name for metric in CATALOGUE if metric.kind is Kind.COUNTER}
    added = Counter()
    for name, labels, value in told:
        if name in counters:
            added[name, labels] += value
    return added


def test_counters_are_written_together_and_lose_nothing(told, recorder):
    for _ in range(3):
        recorder.batch_sealed(8, 5, 1.5)
        recorder.batch_sealed(1, 1, 0.5)
        recorder.requests_ended(Outcome.DONE, 6, [2.0, 2.5])
        recorder.request_refused(4)
    assert sums(told) == {}
    recorder.flush(7)
    recorder.batch_sealed(8, 8, 1.0)
    recorder.requests_ended(Outcome.FAILED, 2, [9.0])
    recorder.flush(0)
    assert sums(told) == {
        ("ascend_serve_batches_total", ("8",)): 4,
        ("ascend_serve_real_rows_total", ("8",)): 23,
        ("ascend_serve_padded_rows_total", ("8",)): 9,
        ("ascend_serve_batches_total", ("1",)): 3,
        ("ascend_serve_real_rows_total", ("1",)): 3,
        ("ascend_serve_requests_total", ("done",)): 6,
        ("ascend_serve_request_rows_total", ("done",)): 18,
        ("ascend_serve_requests_total", ("refused",)): 3,
        ("ascend_serve_request_rows_total", ("refused",)): 12,
        ("ascend_serve_requests_total", ("failed",)): 1,
        ("ascend_serve_request_rows_total", ("failed",)): 2,
    }
    assert [value for name, _, value in told if name == "ascend_serve_queued_rows"] == [7, 0]


def test_a_flush_with_nothing_new_writes_the_gauge_alone(told, recorder):
    recorder.batch_sealed(4, 4, 1.0)
    recorder.flush(0)
    told.clear()
    recorder.flush(3)
    assert told == [("ascend_serve_queued_rows", (), 3)]


def test_times_are_written_one_by_one(told, recorder):
    recorder.requests_ended(Outcome.DONE, 3, [2.0, 2.5, 8.0])
    recorder.batch_sealed(4, 3, 1.25)
    recorder.batch_ended(4, 2.6)
    assert told == [
        ("ascend_serve_request_ms", ("done",), 2.0),
        ("ascend_serve_request_ms", ("done",), 2.5),
        ("ascend_serve_request_ms", ("done",), 8.0),
        ("ascend_serve_queue_wait_ms", (), 1.25),
        ("ascend_serve_device_ms", ("4",), 2.6),
    ]
