"""What a model did since its replica started, in the words of Triton's statistics extension.

Rests on triton-inference-server/server, docs/protocol/extension_statistics.md. `Statistics` is a `Recorder` that stands
before another one and adds up as it passes things on: some additions a batch and one a call of `requests_ended`, and
nothing else on the way of a request.

Triton counts for each request what its batch took. The engine says nothing of batches request by request, but it tells
in order: a batch is sealed, the requests that it completes end, the batch ends; and batches of a model end in the order
in which they were sealed. So the requests that ended well since the last batch came back are those of this one, and
what they did not spend in it they waited. Not every batch is timed on the device (`runtime.session`); one that is not
counts with what its gear took last, from warm-up on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from ascend_serve.metrics import Outcome, Recorder, Stages
from ascend_serve.protocol.messages import BatchStatistics, Duration, InferStatistics, ModelStatistics
from ascend_serve.spec.timing import GearTimes

_NS_PER_MS = 1e6
_NO_STAGES = (0.0, 0.0, 0.0)


class _Sum:
    """Times that are added up, with how many there were."""

    __slots__ = ("count", "ms")

    def __init__(self) -> None:
        self.count = 0
        self.ms = 0.0

    def add(self, count: int, ms: float) -> None:
        self.count += count
        self.ms += ms

    def told(self) -> Duration:
        return Duration(self.count, max(0, round(self.ms * _NS_PER_MS)))


class _StageSums:
    """Copy-in, compute and copy-out, added up."""

    __slots__ = ("count", "ms")

    def __init__(self) -> None:
        self.count = 0
        self.ms = [0.0, 0.0, 0.0]

    def add(self, times: int, stages: Stages) -> None:
        self.count += times
        for at, ms in enumerate(stages):
            self.ms[at] += times * ms

    def told(self) -> tuple[Duration, Duration, Duration]:
        copy_in, compute, copy_out = (Duration(self.count, round(ms * _NS_PER_MS)) for ms in self.ms)
        return copy_in, compute, copy_out


class Statistics:
    """A `Recorder` that adds up for the statistics of a model, and passes everything on.

    Args:
        inner: takes everything as well.
        times: what the gears took at warm-up.
        clock: monotonic seconds.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        inner: Recorder,
        times: GearTimes,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._wall = wall
        self._stages: dict[int, Stages] = {gear: timing.stages for (_, gear), timing in times.items()}
        self._success, self._fail, self._queue = _Sum(), _Sum(), _Sum()
        self._by_request = _StageSums()
        self._by_gear: dict[int, _StageSums] = {}
        self._rows = 0
        self._last = 0.0
        self._sealed_at: deque[float] = deque()
        # Since the last batch came back.
        self._done = 0
        self._done_ms = 0.0
        self._failed = 0

    def told(self, name: str, version: str) -> ModelStatistics:
        """All of it until now."""
        copy_in, compute, copy_out = self._by_request.told()
        return ModelStatistics(
            name,
            version,
            last_inference=int(self._last * 1e3),
            inference_count=self._rows,
            execution_count=sum(sums.count for sums in self._by_gear.values()),
            inference_stats=InferStatistics(
                self._success.told(), self._fail.told(), self._queue.told(), copy_in, compute, copy_out
            ),
            batch_stats=tuple(
                BatchStatistics(gear, *sums.told()) for gear, sums in sorted(self._by_gear.items())
            ),
        )

    def request_refused(self, rows: int, reason: str) -> None:
        """Count a request that was not accepted."""
        self._fail.add(1, 0.0)
        self._inner.request_refused(rows, reason)

    def requests_ended(self, outcome: Outcome, rows: int, times_ms: Sequence[float]) -> None:
        """Count the end of accepted requests."""
        total_ms = sum(times_ms)
        if outcome is Outcome.DONE:
            self._done += len(times_ms)
            self._done_ms += total_ms
            self._rows += rows
            self._success.add(len(times_ms), total_ms)
        else:
            self._failed += outcome is Outcome.FAILED
            self._fail.add(len(times_ms), total_ms)
        self._inner.requests_ended(outcome, rows, times_ms)

    def batch_sealed(self, gear: int, rows: int, longest_wait_ms: float) -> None:
        """Remember when a batch was sealed."""
        self._sealed_at.append(self._clock())
        self._inner.batch_sealed(gear, rows, longest_wait_ms)

    def batch_ended(self, gear: int, device_ms: float, stages: Stages | None) -> None:
        """Count a batch, and for each request that it completed what it waited and took."""
        if stages is not None:
            self._stages[gear] = stages
        sealed_at = self._sealed_at.popleft() if self._sealed_at else self._clock()
        if not self._failed:
            if gear not in self._by_gear:
                self._by_gear[gear] = _StageSums()
            took = self._stages.get(gear, _NO_STAGES)
            self._by_gear[gear].add(1, took)
            in_batch_ms = (self._clock() - sealed_at) * 1e3
            self._queue.add(self._done, max(0.0, self._done_ms - self._done * in_batch_ms))
            self._by_request.add(self._done, took)
        self._last = self._wall()
        self._done, self._done_ms, self._failed = 0, 0.0, 0
        self._inner.batch_ended(gear, device_ms, stages)

    def flush(self, queued_rows: int, drift: Mapping[int, float]) -> None:
        """Pass on."""
        self._inner.flush(queued_rows, drift)
