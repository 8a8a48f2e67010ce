"""Loads on the real engine and lane, in this process and without Ray: what policies and pipeline give by themselves.

Rows of 150 KB come one at a time, in a stream from a thread of its own (a timer of the event loop is a millisecond
coarse), or from clients that send their next row when they have an answer. It is run on uvloop, as replicas are.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ascend_serve.artifacts.store import Artifact
from ascend_serve.batching.policy import policy_named
from ascend_serve.engine import Engine, Results
from ascend_serve.errors import Refusal
from ascend_serve.metrics import NullRecorder
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.lane import Lane, LaneReport
from ascend_serve.runtime.session import Session
from benchmarks.baselines.process import set_as_ours
from benchmarks.node import COSTS_MS

SLOTS = 2
_DISTINCT = 64
_SETTLE_S = 30.0
_OPEN_S = 60.0

Rows = list[dict[str, NDArray[Any]]]


class _Tally(NullRecorder):
    """Counts batches and rows by gear."""

    def __init__(self) -> None:
        self.batches: Counter[int] = Counter()
        self.rows = 0

    def batch_sealed(self, gear: int, rows: int, longest_wait_ms: float) -> None:
        self.batches[gear] += 1
        self.rows += rows


@dataclass(slots=True)
class Run:
    """One policy under one load, once; it lasts until the last answer.

    Attributes:
        latencies_ms: of each answer.
        elapsed_s: from the first row due to the last answer.
        refused: rows that were not taken.
        wrong: rows that failed or were given another row's answer.
        cpu_s: CPU seconds of this whole process, which is engine, lane and client; the card is another one.
        tally: batches and rows by gear.
    """

    latencies_ms: list[float] = field(default_factory=list)
    elapsed_s: float = 0.0
    refused: int = 0
    wrong: int = 0
    cpu_s: float = 0.0
    tally: _Tally = field(default_factory=_Tally)

    @property
    def mean_ms(self) -> float:
        """Mean latency."""
        return sum(self.latencies_ms) / len(self.latencies_ms)

    @property
    def rows_per_s(self) -> float:
        """Rows answered a second."""
        return len(self.latencies_ms) / self.elapsed_s

    @property
    def cpu_us(self) -> float:
        """CPU microseconds for each row."""
        return 1e6 * self.cpu_s / len(self.latencies_ms)

    @property
    def busy(self) -> float:
        """The device's share: t(gear) times batches by elapsed time, copies left out."""
        ran_ms = sum(COSTS_MS[gear] * count for gear, count in self.tally.batches.items())
        return ran_ms / 1e3 / self.elapsed_s

    @property
    def rows_per_batch(self) -> float:
        """Rows in a batch, as a mean."""
        return self.tally.rows / self.tally.batches.total()

    @property
    def padding(self) -> float:
        """Share of the rows run that nobody had sent."""
        return 1 - self.tally.rows / sum(gear * count for gear, count in self.tally.batches.items())


@contextmanager
def opened(artifact: Artifact, *, slots: int | None = SLOTS) -> Iterator[tuple[Lane, LaneReport]]:
    """A lane with one warm session on card 0, for as long as the block lasts.

    Args:
        artifact: the model.
        slots: batches that may be on their way at once; None: chosen from the times that warm-up measures.
    """
    set_as_ours()
    path = artifact.fetch()

    def open_sessions() -> list[Session]:
        return [Session.open(Device.open(0), path, artifact.spec, slots=slots, close_device=True)]

    lane = Lane(open_sessions)
    (report,) = lane.start(_OPEN_S)
    try:
        yield lane, report
    finally:
        lane.close(20.0)


class EngineBench:
    """One lane for all runs: a model is loaded and warmed once, and each run gets an engine of its own.

    Attributes:
        report: what the lane found.

    Args:
        lane: open.
        report: what it found.
    """

    def __init__(self, lane: Lane, report: LaneReport) -> None:
        self._lane = lane
        self.report = report
        rng = np.random.default_rng(1)
        (tensor,) = report.spec.inputs
        (self._output,) = (output.name for output in report.spec.outputs)
        shape = (1, *tensor.shape[1:])
        self._rows: Rows = [{tensor.name: rng.integers(0, 256, shape, np.uint8)} for _ in range(_DISTINCT)]
        self._expected: list[bytes] = []

    async def learn(self) -> None:
        """Ask for each row alone, so that a mixed-up answer is noticed in the runs.

        Raises:
            RuntimeError: two rows have the same answer.
        """
        async with self._engine("pad_up", _Tally()) as engine:
            self._expected = [(await engine.submit(row))[self._output].tobytes() for row in self._rows]
        if len(set(self._expected)) < len(self._expected):
            raise RuntimeError("two rows have the same answer: mixed-up rows would go unnoticed")

    async def open_loop(self, policy: str, due: Sequence[float]) -> Run:
        """A stream of rows, due at these seconds from its start.

        Raises:
            RuntimeError: a row failed, or was given another row's answer.
        """
        run = Run()
        loop = asyncio.get_running_loop()
        async with self._engine(policy, run.tally) as engine:
            begin = time.monotonic() + 0.05
            cpu = time.process_time()

            def offer(number: int, at: float) -> None:
                try:
                    request = engine.offer(self._rows[number % _DISTINCT])
                except Refusal:
                    run.refused += 1
                    return
                request.result.add_done_callback(partial(self._answered, run, number, begin, at))

            stop = threading.Event()
            feeder = threading.Thread(
                target=_feed, args=(loop, offer, begin, due, stop), name="feeder", daemon=True
            )
            feeder.start()
            try:
                while feeder.is_alive():
                    await asyncio.sleep(0.05)
            finally:
                stop.set()
                feeder.join()
            await asyncio.wait_for(engine.drain(), _SETTLE_S)
            await asyncio.sleep(0)  # the callbacks of the last answers
            run.cpu_s = time.process_time() - cpu
        if len(run.latencies_ms) + run.refused != len(due):
            raise RuntimeError(f"{len(due)} rows were offered, {len(run.latencies_ms)} ended")
        return _checked(run)

    async def closed_loop(self, policy: str, clients: int, seconds: float) -> Run:
        """Clients that send their next row when they have an answer.

        Raises:
            RuntimeError: a row failed, or was given another row's answer.
        """
        run = Run()
        async with self._engine(policy, run.tally) as engine:
            begin, cpu = time.monotonic(), time.process_time()
            end = begin + seconds
            idle = asyncio.Event()
            under_way = clients

            def ask(number: int) -> None:
                at = time.monotonic()
                request = engine.offer(self._rows[number % _DISTINCT])
                request.result.add_done_callback(partial(answered, number, at))

            def answered(number: int, at: float, result: asyncio.Future[Results]) -> None:
                nonlocal under_way
                self._answered(run, number, begin, at, result)
                if time.monotonic() < end:
                    ask(number)
                else:
                    under_way -= 1
                    if not under_way:
                        idle.set()

            for number in range(clients):
                ask(number)
            await asyncio.wait_for(idle.wait(), seconds + _SETTLE_S)
            run.cpu_s = time.process_time() - cpu
        return _checked(run)

    def _answered(
        self, run: Run, number: int, begin: float, at: float, result: asyncio.Future[Results]
    ) -> None:
        now = time.monotonic()
        run.latencies_ms.append((now - at) * 1e3)
        run.elapsed_s = now - begin
        expected = self._expected[number % _DISTINCT]
        run.wrong += result.exception() is not None or result.result()[self._output].tobytes() != expected

    @asynccontextmanager
    async def _engine(self, policy: str, tally: _Tally) -> AsyncIterator[Engine]:
        report = self.report
        engine = Engine(
            report.spec,
            self._lane.runner(0),
            slots=report.slots,
            times=report.times,
            policy=policy_named(policy),
            max_queued_rows=1 << 16,
            recorder=tally,
        )
        await engine.prepared()
        yield engine
        await asyncio.wait_for(engine.drain(), _SETTLE_S)


def _checked(run: Run) -> Run:
    if run.wrong:
        raise RuntimeError(
            f"{run.wrong} of {len(run.latencies_ms)} rows failed or were given another row's answer"
        )
    return run


def _feed(
    loop: asyncio.AbstractEventLoop,
    offer: Callable[[int, float], None],
    begin: float,
    due: Sequence[float],
    stop: threading.Event,
) -> None:
    for number, after in enumerate(due):
        at = begin + after
        if stop.wait(max(0.0, at - time.monotonic())):
            return
        loop.call_soon_threadsafe(offer, number, at)
