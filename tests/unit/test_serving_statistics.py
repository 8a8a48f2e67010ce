"""Statistics: what an engine's reports add up to, and that they are all passed on."""

from __future__ import annotations

import pytest

from ascend_serve.metrics import NullRecorder, Outcome, Stages
from ascend_serve.protocol.messages import Duration
from ascend_serve.serving.watching.statistics import Statistics
from ascend_serve.spec.timing import Stages as DeviceStages
from ascend_serve.spec.timing import Timing

pytestmark = pytest.mark.unit

TIMES = {(0, gear): Timing(DeviceStages(0.5, ms, 0.25), 0.0, 1) for gear, ms in ((1, 1.0), (4, 2.0))}
MS = 1_000_000


class Heard(NullRecorder):
    def __init__(self) -> None:
        self.stages: list[Stages | None] = []

    def batch_ended(self, gear: int, device_ms: float, stages: Stages | None) -> None:
        self.stages.append(stages)


class Counted:
    """Statistics with a clock of milliseconds that the test moves."""

    def __init__(self) -> None:
        self.ms = 0.0
        self.heard = Heard()
        self.statistics = Statistics(
            self.heard, TIMES, clock=lambda: self.ms / 1e3, wall=lambda: 1000.0 + self.ms / 1e3
        )

    def told(self) -> object:
        return self.statistics.told("m", "1")


def test_nothing_was_done() -> None:
    told = Counted().statistics.told("m", "1")
    assert (told.inference_count, told.execution_count, told.last_inference, told.batch_stats) == (
        0,
        0,
        0,
        (),
    )
    assert told.inference_stats.success == Duration(0, 0)


def test_two_requests_of_one_batch() -> None:
    counted = Counted()
    statistics = counted.statistics
    counted.ms = 10
    statistics.batch_sealed(4, 3, 10.0)
    counted.ms = 13
    statistics.requests_ended(Outcome.DONE, 3, [13.0, 5.0])  # one waited 10 ms and one 2
    statistics.batch_ended(4, 2.0, (0.5, 2.0, 0.5))
    told = statistics.told("m", "1")
    stats = told.inference_stats
    assert (told.inference_count, told.execution_count, told.last_inference) == (3, 1, 1_000_013)
    assert stats.success == Duration(2, 18 * MS)
    assert stats.queue == Duration(2, 12 * MS)
    assert stats.compute_infer == Duration(2, 4 * MS), "each request counts what the whole batch took"
    (batch,) = told.batch_stats
    assert (batch.batch_size, batch.compute_infer) == (4, Duration(1, 2 * MS))
    assert (batch.compute_input, batch.compute_output) == (Duration(1, MS // 2), Duration(1, MS // 2))


def test_a_batch_that_is_sealed_before_the_last_one_is_told_of_keeps_its_own_time() -> None:
    counted = Counted()
    statistics = counted.statistics
    statistics.batch_sealed(1, 1, 0.0)
    counted.ms = 4
    statistics.batch_sealed(1, 1, 1.0)  # the engine launches the next one before it tells of the first
    statistics.requests_ended(Outcome.DONE, 1, [4.0])
    statistics.batch_ended(1, 4.0, None)
    counted.ms = 9
    statistics.requests_ended(Outcome.DONE, 1, [6.0])
    statistics.batch_ended(1, 5.0, None)
    assert statistics.told("m", "1").inference_stats.queue == Duration(2, 1 * MS)


def test_a_batch_that_was_not_timed_counts_with_what_its_gear_took_last() -> None:
    counted = Counted()
    for stages in (None, (0.5, 3.0, 0.25), None):
        counted.statistics.batch_sealed(1, 1, 0.0)
        counted.statistics.batch_ended(1, 1.0, stages)
    (batch,) = counted.statistics.told("m", "1").batch_stats
    assert batch.compute_infer == Duration(3, 7 * MS)  # 1 ms from warm-up, 3 measured, 3 again
    assert counted.heard.stages == [None, (0.5, 3.0, 0.25), None], "others hear what was measured alone"


def test_what_fails_is_no_execution() -> None:
    counted = Counted()
    statistics = counted.statistics
    statistics.request_refused(2, "QueueFull")
    statistics.requests_ended(Outcome.EXPIRED, 1, [7.0])
    statistics.batch_sealed(4, 4, 0.0)
    statistics.requests_ended(Outcome.FAILED, 1, [3.0])
    statistics.batch_ended(4, 1.0, None)
    told = statistics.told("m", "1")
    assert told.inference_stats.fail == Duration(3, 10 * MS)
    assert told.inference_stats.success.count == told.execution_count == told.inference_count == 0
    statistics.batch_sealed(4, 4, 0.0)
    statistics.batch_ended(4, 1.0, None)
    assert statistics.told("m", "1").execution_count == 1
