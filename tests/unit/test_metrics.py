import re

import pytest

import ascend_serve.metrics as module
from ascend_serve.metrics import CATALOGUE, Kind, Metric, NullRecorder, Outcome, Recorder

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
    recorder.request_refused(1)
    recorder.requests_ended(Outcome.DONE, 3, [2.0, 2.1])
    recorder.batch_sealed(4, 3, 0.1)
    recorder.batch_ended(4, 2.6)
    recorder.flush(0)
