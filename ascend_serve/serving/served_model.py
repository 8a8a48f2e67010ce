"""One model of a replica: its engine, its plane, and what it keeps.

The models of a replica have one lane and one event loop in common, and their engines share the device's time by weight
(`batching.sharing`); all else is each model's own: slots, queue, policy, measured times, journal and metrics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.packing import Tensors
from ascend_serve.batching.policy import check_fits
from ascend_serve.batching.sharing import Share
from ascend_serve.dataplane import DataPlane
from ascend_serve.engine import Elsewhere, Engine, Results
from ascend_serve.metrics import Recorder
from ascend_serve.processing.loading import make_processor
from ascend_serve.runtime.lane import Lane, LaneReport
from ascend_serve.serving.config import ModelConfig
from ascend_serve.serving.doors.ahead import Patience
from ascend_serve.serving.doors.labels import read_labels
from ascend_serve.serving.doors.processing import Processing
from ascend_serve.serving.opening import Opening
from ascend_serve.serving.watching.journal import FileJournal
from ascend_serve.serving.watching.statistics import Statistics

__all__ = ["Front", "ServedModel", "Submit", "Tensors"]


class Submit(Protocol):
    """Runs checked tensors; `Engine.submit` is one."""

    def __call__(
        self, tensors: Tensors, *, deadline: float | None = None, priority: int | None = None
    ) -> Coroutine[Any, Any, Results]:
        """The outputs.

        Args:
            tensors: all inputs by name.
            deadline: in seconds of the engine's clock, or None.
            priority: 1 for the most urgent level; None for the default.

        Raises:
            AscendServeError: refused, expired, cancelled or failed.
        """
        ...


Front = Callable[[Engine, int], Submit]
"""Puts something in front of an engine whose largest gear is given."""


class ServedModel:
    """A model between the doors and the lane. Made and used on the replica's event loop.

    Args:
        config: its settings.
        version: of the model.
        report: what the lane found of it.
        lane: runs it.
        number: of its session on the lane.
        share: of the device, with the lane's other models.
        opening: keeps its times.
        recorder: takes its metrics.
        journal: takes what is decided, or None.
        elsewhere: answers what a fault of the device has ended.
        front: stands before the engine, or None.

    Attributes:
        policy: how it chooses gears by now.

    Raises:
        ConfigError: settings that do not fit the model.
    """

    def __init__(
        self,
        config: ModelConfig,
        version: str,
        report: LaneReport,
        *,
        lane: Lane,
        number: int,
        share: Share,
        opening: Opening,
        recorder: Recorder,
        journal: FileJournal | None = None,
        elsewhere: Elsewhere | None = None,
        front: Front | None = None,
    ) -> None:
        self._lane = lane
        self._number = number
        self._opening = opening
        self._journal = journal
        self._report = report
        spec, batching = report.spec, config.batching
        max_rows = config.limits.rows_of(spec)
        statistics = Statistics(recorder, report.times)
        self.policy = batching.chosen_policy()
        self.engine = Engine(
            spec,
            lane.runner(number),
            slots=report.slots,
            in_flight=batching.in_flight,
            times=report.times,
            policy=self.policy,
            max_queued_rows=queue_of(config, max_rows),
            padded=batching.padded,
            priority_levels=batching.priority_levels,
            default_deadline_s=batching.default_deadline_s,
            deferred=batching.deferred,
            share=share,
            weight=config.weight,
            elsewhere=elsewhere,
            recorder=statistics,
            journal=journal,
        )
        self._submit: Submit = self.engine.submit if front is None else front(self.engine, spec.gears.largest)
        self.plane = DataPlane(
            spec,
            self._infer,
            ready=self._ready,
            max_rows=max_rows,
            padded=batching.padded,
            priority_levels=batching.priority_levels,
            version=version,
            statistics=partial(statistics.told, spec.name, version),
            labels=read_labels(config.labels, spec),
        )
        self.processing = None
        if config.processor is not None:
            processor = make_processor(config.processor, config.processor_args, spec)
            self.processing = Processing(
                processor,
                self.plane,
                config.processor_threads,
                default_deadline_s=batching.default_deadline_s,
            )
        self._patience = Patience(queue_of(config, max_rows), batching.default_deadline_s)
        self._policy_name = batching.policy
        self._batched = spec.batched
        self._came = [0, 0]  # requests, and their rows

    async def prepared(self) -> None:
        """Return when the policy is solved for what the gears take."""
        await self.engine.prepared()

    def check(self, config: ModelConfig) -> None:
        """Check that it could take these settings now; nothing changes.

        Raises:
            ConfigError: a policy that does not fit the gears.
        """
        policy = config.batching.chosen_policy()
        for bucket in self.plane.spec.buckets:
            check_fits(policy, bucket.gears)

    async def take(self, config: ModelConfig) -> None:
        """Go by these settings, as far as they may change while it serves (`serving.live`).

        Raises:
            ConfigError: as `check`.
        """
        batching = config.batching
        max_rows = config.limits.rows_of(self.plane.spec)
        policy = batching.chosen_policy()
        await self.engine.change(
            policy=policy,
            max_queued_rows=queue_of(config, max_rows),
            default_deadline_s=batching.default_deadline_s,
        )
        self.plane.take_at_most(max_rows)
        self._patience = Patience(queue_of(config, max_rows), batching.default_deadline_s)
        if self.processing is not None:
            self.processing.default_deadline_s = batching.default_deadline_s
        self.policy, self._policy_name = policy, batching.policy

    def patience(self) -> Patience:
        """How long its requests may wait at a door: no more than its queue has rows, and to their deadlines."""
        return self._patience

    def told(self) -> str:
        """What it runs on, for the log."""
        report = self._report
        return (
            f"'{self.plane.spec.name}' version {self.plane.version} is warm on {report.soc_name}: "
            f"{_told_times(report)}, {report.slots} slots, policy {self._policy_name}"
        )

    def cost_tables(self) -> list[CostTable]:
        """What the gears of each bucket take by now."""
        times = self.engine.times()
        return [
            CostTable.of(bucket.gears, {gear: times[index, gear] for gear in bucket.gears} if times else {})
            for index, bucket in enumerate(self.plane.spec.buckets)
        ]

    def came(self) -> tuple[int, int]:
        """How many requests were offered since it started, and how many rows they had."""
        requests, rows = self._came
        return requests, rows

    def keep_times(self) -> None:
        """Keep what its gears take for the next start. Reads and writes files."""
        self._opening.keep(self._number, self.engine.times())

    async def drain(self) -> None:
        """Take nothing new, and return when all that was accepted has ended."""
        await self.engine.drain()
        if self.processing is not None:
            self.processing.close()

    async def close_journal(self) -> None:
        """Write what waits for the disk."""
        if self._journal is not None:
            await self._journal.close()

    def _ready(self) -> bool:
        return self._lane.heartbeat().fault is None and self.engine.state().fault is None

    def _infer(
        self, tensors: Tensors, *, deadline_s: float | None = None, priority: int | None = None
    ) -> Coroutine[Any, Any, Results]:
        self._came[0] += 1
        self._came[1] += len(next(iter(tensors.values()))) if self._batched else 1
        # No coroutine of its own: every request would enter it twice.
        deadline = None if deadline_s is None else time.monotonic() + deadline_s
        return self._submit(tensors, deadline=deadline, priority=priority)


def queue_of(config: ModelConfig, max_rows: int) -> int:
    """The most rows that may wait, where one request has at most `max_rows`."""
    return config.batching.max_queued_rows or 4 * max_rows


def _told_times(report: LaneReport) -> str:
    """What the gears take."""
    told = []
    for index, bucket in enumerate(report.spec.buckets):
        gears = {gear: round(report.times[index, gear].stages.compute_ms, 3) for gear in bucket.gears}
        told.append(f"{dict(bucket.shapes)} {gears}" if report.spec.free else str(gears))
    return f"device ms by gear {'; '.join(told)}"
