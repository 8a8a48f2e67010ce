import re
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ascend_serve.metrics as module
from ascend_serve.metrics import (
    CATALOGUE,
    DEVICE_MS,
    MS_BUCKETS,
    Kind,
    Metric,
    NullRecorder,
    Outcome,
    Recorder,
    Tally,
)

pytestmark = pytest.mark.unit


def test_the_catalogue_is_whole_and_each_name_stands_once() -> None:
    defined = [value for value in vars(module).values() if isinstance(value, Metric)]
    assert sorted(metric.name for metric in CATALOGUE) == sorted(metric.name for metric in defined)
    assert len({metric.name for metric in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_a_metric_is_well_formed(metric: Metric) -> None:
    assert re.fullmatch(r"ascend_serve_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.help.endswith(".")
    if metric.kind is Kind.HISTOGRAM:
        assert metric.name.endswith("_ms")


def test_the_recorder_that_keeps_nothing_takes_everything() -> None:
    recorder: Recorder = NullRecorder()
    recorder.request_refused(1, "QueueFull")
    recorder.requests_ended(Outcome.DONE, 3, [2.0, 2.1])
    recorder.batch_sealed(4, 3, 0.1)
    recorder.batch_ended(4, 2.6, (0.1, 2.0, 0.1))
    recorder.flush(0, {})


def test_a_histogram_is_written_as_two_counters_that_prometheus_reads_as_one() -> None:
    buckets, sums = DEVICE_MS.bucket_counter, DEVICE_MS.sum_counter
    assert (buckets.name, buckets.labels) == ("ascend_serve_device_ms_bucket_total", ("gear", "le"))
    assert (sums.name, sums.labels) == ("ascend_serve_device_ms_sum_total", ("gear",))
    assert {buckets.kind, sums.kind} == {Kind.COUNTER}
    assert DEVICE_MS.bounds[:3] == ("0.25", "0.5", "1")
    assert DEVICE_MS.bounds[-3:] == ("2500", "10000", "+Inf")
    assert [float(bound) for bound in DEVICE_MS.bounds[:-1]] == list(MS_BUCKETS)


@given(st.lists(st.one_of(st.sampled_from(MS_BUCKETS), st.floats(0, 20_000))))
def test_a_tally_has_every_value_at_its_bounds(values: list[float]) -> None:
    tally = Tally(MS_BUCKETS)
    for value in values:
        tally.add(value)
    up_to = [sum(value <= bound for value in values) for bound in MS_BUCKETS]
    assert list(accumulate(tally.counts)) == [*up_to, len(values)]
    assert tally.total == pytest.approx(sum(values))
    tally.clear()
    assert (sum(tally.counts), tally.total) == (0, 0.0)
