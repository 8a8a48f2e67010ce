"""What reaches Ray's instruments, told by instruments that keep what they are told."""

from collections import Counter
from typing import ClassVar

import pytest

from ascend_serve.metrics import CATALOGUE, DEVICE_MS, Kind, Outcome, Recorder

pytestmark = pytest.mark.serve


class Instrument:
    """Any of Ray's instruments."""

    told: ClassVar[list] = []

    def __init__(self, name, description="", tag_keys=()):
        self.name, self.tag_keys = name, tag_keys

    def inc(self, value=1.0, tags=None):
        assert value > 0, "Ray's counters refuse a zero"
        self.keep(value, tags)

    def set(self, value, tags=None):
        self.keep(value, tags)

    def set_default_tags(self, default_tags):
        assert default_tags in ({"model": "resnet", "version": "3"}, {})
        self.tag_keys = tuple(key for key in self.tag_keys if key not in default_tags)

    def keep(self, value, tags):
        assert set(tags or {}) == set(self.tag_keys)
        self.told.append((self.name, tuple((tags or {}).values()), value))


@pytest.fixture
def recorder(told) -> Recorder:
    from ascend_serve.serving.watching.recorder import ServeRecorder

    return ServeRecorder("resnet", "3")


@pytest.fixture
def told(monkeypatch):
    """Everything that the instruments are told, in its order: (name, labels, value)."""
    from ray.serve import metrics as ray_metrics

    monkeypatch.setattr(Instrument, "told", [])
    for kind in ("Counter", "Gauge"):
        monkeypatch.setattr(ray_metrics, kind, Instrument)
    return Instrument.told


def sums(told):
    """What counters add up to."""
    counters = {metric.name for metric in CATALOGUE if metric.kind is Kind.COUNTER}
    return added(told, counters)


def added(told, names):
    found = Counter()
    for name, labels, value in told:
        if name in names:
            found[name, labels] += value
    return found


def test_counters_are_written_together_and_lose_nothing(told, recorder):
    for _ in range(3):
        recorder.batch_sealed(8, 5, 1.5)
        recorder.batch_sealed(1, 1, 0.5)
        recorder.batch_ended(8, 4.0, None)
        recorder.requests_ended(Outcome.DONE, 6, [2.0, 2.5])
        recorder.request_refused(4, "QueueFull")
    assert told == []
    recorder.flush(7, {})
    recorder.batch_sealed(8, 8, 1.0)
    recorder.requests_ended(Outcome.FAILED, 2, [9.0])
    recorder.flush(0, {})
    assert sums(told) == {
        ("ascend_serve_batches_total", ("8",)): 4,
        ("ascend_serve_real_rows_total", ("8",)): 23,
        ("ascend_serve_padded_rows_total", ("8",)): 9,
        ("ascend_serve_batches_total", ("1",)): 3,
        ("ascend_serve_real_rows_total", ("1",)): 3,
        ("ascend_serve_requests_total", ("done",)): 6,
        ("ascend_serve_request_rows_total", ("done",)): 18,
        ("ascend_serve_requests_total", ("refused",)): 3,
        ("ascend_serve_refusals_total", ("QueueFull",)): 3,
        ("ascend_serve_request_rows_total", ("refused",)): 12,
        ("ascend_serve_requests_total", ("failed",)): 1,
        ("ascend_serve_request_rows_total", ("failed",)): 2,
    }
    assert [value for name, _, value in told if name == "ascend_serve_queued_rows"] == [7, 0]


def test_a_flush_with_nothing_new_writes_the_gauge_alone(told, recorder):
    recorder.batch_sealed(4, 4, 1.0)
    recorder.requests_ended(Outcome.DONE, 1, [2.0])
    recorder.batch_ended(4, 2.6, None)
    recorder.flush(0, {})
    told.clear()
    recorder.flush(3, {})
    assert told == [("ascend_serve_queued_rows", (), 3)]


def test_a_histogram_counts_up_to_each_bound_and_adds_up_exactly(told, recorder):
    recorder.requests_ended(Outcome.DONE, 3, [2.0, 2.5, 8.0])
    recorder.requests_ended(Outcome.EXPIRED, 1, [20_000.0])
    recorder.flush(0, {})
    recorder.requests_ended(Outcome.DONE, 2, [0.1, 2.0])
    recorder.flush(0, {})
    buckets = added(told, {"ascend_serve_request_ms_bucket_total"})
    up_to = {
        "0.25": 1, "0.5": 1, "1": 1, "2": 3, "4": 4, "8": 5, "16": 5, "32": 5, "64": 5, "125": 5,
        "250": 5, "500": 5, "1000": 5, "2500": 5, "10000": 5, "+Inf": 5,
    }  # fmt: skip
    assert {
        bound: buckets["ascend_serve_request_ms_bucket_total", ("done", bound)] for bound in up_to
    } == up_to
    assert buckets["ascend_serve_request_ms_bucket_total", ("expired", "+Inf")] == 1
    assert added(told, {"ascend_serve_request_ms_sum_total"}) == {
        ("ascend_serve_request_ms_sum_total", ("done",)): 2.0 + 2.5 + 8.0 + (0.1 + 2.0),
        ("ascend_serve_request_ms_sum_total", ("expired",)): 20_000.0,
    }


def test_every_bucket_is_there_from_the_first_value_on(told, recorder):
    recorder.batch_ended(4, 2.6, None)
    recorder.flush(0, {})
    name = DEVICE_MS.bucket_counter.name
    there = {labels: value for told_name, labels, value in told if told_name == name}
    assert set(there) == {("4", bound) for bound in DEVICE_MS.bounds}
    empty = there["4", "2"]
    assert empty > 0
    assert empty + 1 == 1, "it is lost as soon as something is counted"


def test_times_without_a_label_of_their_own_are_counted_too(told, recorder):
    recorder.batch_sealed(4, 3, 1.25)
    recorder.batch_sealed(4, 3, 0.0)
    recorder.flush(0, {})
    buckets = added(told, {"ascend_serve_queue_wait_ms_bucket_total"})
    assert buckets["ascend_serve_queue_wait_ms_bucket_total", ("0.25",)] == 1
    assert buckets["ascend_serve_queue_wait_ms_bucket_total", ("+Inf",)] == 2
    assert added(told, {"ascend_serve_queue_wait_ms_sum_total"}) == {
        ("ascend_serve_queue_wait_ms_sum_total", ()): 1.25
    }


def test_stages_are_counted_for_the_batches_that_were_timed(told, recorder):
    recorder.batch_ended(4, 2.6, None)
    recorder.batch_ended(4, 2.6, (0.5, 2.0, 0.25))
    recorder.flush(0, {})
    for stage, ms in (("copy_in", 0.5), ("compute", 2.0), ("copy_out", 0.25)):
        name = f"ascend_serve_{stage}_ms"
        assert added(told, {f"{name}_sum_total"}) == {(f"{name}_sum_total", ("4",)): ms}
        assert added(told, {f"{name}_bucket_total"})[f"{name}_bucket_total", ("4", "+Inf")] == 1


def test_drift_is_what_it_is_now(told, recorder):
    recorder.flush(0, {4: 1.25, 8: 1.0})
    drift = [value for value in told if value[0] == "ascend_serve_cost_drift_ratio"]
    assert drift == [
        ("ascend_serve_cost_drift_ratio", ("4",), 1.25),
        ("ascend_serve_cost_drift_ratio", ("8",), 1.0),
    ]


def test_the_devices_memory_is_no_models(told):
    from ascend_serve.serving.watching.recorder import DeviceRecorder

    DeviceRecorder().memory(free_bytes=3, total_bytes=10)
    assert told == [
        ("ascend_serve_device_memory_used_bytes", (), 7),
        ("ascend_serve_device_memory_bytes", (), 10),
    ]
