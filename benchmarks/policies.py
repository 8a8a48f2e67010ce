"""Gear policies through the real engine and lane, in this process and without Ray.

Rows of 150 KB come one at a time, in a Poisson stream from a thread of its own (a timer of the event loop is a
millisecond coarse), or from clients that send their next row when they have an answer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ascend_serve.batching.policy import Policy, policy_named
from ascend_serve.engine import Engine, Results
from ascend_serve.errors import Refusal
from ascend_serve.metrics import NullRecorder
from ascend_serve.runtime.lane import Lane, LaneReport
from ascend_serve.serving.opening import Served, open_session
from benchmarks.arrivals import poisson
from benchmarks.expectation import Expectation, simulate
from benchmarks.figures import Spread, pairwise, percentile, table
from benchmarks.node import COSTS_MS, Node, compile_pictures

NAMES = ("pad_up", "fixed")
RATES = (100, 600, 1000, 1600)
CLIENTS = (9, 64)
SLOTS = 2
_PICTURES = 64
_SETTLE_S = 30.0

Pictures = list[dict[str, NDArray[Any]]]


class _Tally(NullRecorder):
    """Counts batches and rows by gear."""

    def __init__(self) -> None:
        self.batches: Counter[int] = Counter()
        self.rows = 0

    def batch_sealed(self, gear: int, rows: int, waits_ms: Sequence[float]) -> None:
        self.batches[gear] += 1
        self.rows += rows


@dataclass(slots=True)
class _Run:
    """One policy under one load, once; it lasts until the last answer."""

    latencies_ms: list[float] = field(default_factory=list)
    elapsed_s: float = 0.0
    refused: int = 0
    wrong: int = 0
    tally: _Tally = field(default_factory=_Tally)

    @property
    def busy(self) -> float:
        return (
            sum(COSTS_MS[gear] * count for gear, count in self.tally.batches.items()) / 1e3 / self.elapsed_s
        )

    @property
    def rows_per_batch(self) -> float:
        return self.tally.rows / self.tally.batches.total()

    @property
    def padding(self) -> float:
        return 1 - self.tally.rows / sum(gear * count for gear, count in self.tally.batches.items())


class _Bench:
    """One lane for all runs: a model is loaded and warmed once, and each run gets an engine of its own."""

    def __init__(self, lane: Lane, report: LaneReport) -> None:
        self._lane = lane
        self._report = report
        rng = np.random.default_rng(1)
        self._pictures: Pictures = [
            {"image": rng.integers(0, 256, (1, 3, 224, 224), np.uint8)} for _ in range(_PICTURES)
        ]
        self._expected: list[bytes] = []

    async def learn(self) -> None:
        """Ask for each picture alone, so that a mixed-up answer is noticed in the runs."""
        engine = self._engine("pad_up", _Tally())
        self._expected = [(await engine.submit(picture))["scores"].tobytes() for picture in self._pictures]
        if len(set(self._expected)) < len(self._expected):
            raise RuntimeError("two pictures have the same answer: mixed-up rows would go unnoticed")

    async def open_loop(self, policy: str, due: Sequence[float]) -> _Run:
        run = _Run()
        engine = self._engine(policy, run.tally)
        loop = asyncio.get_running_loop()
        begin = time.monotonic() + 0.05

        def offer(number: int, at: float) -> None:
            try:
                request = engine.offer(self._pictures[number % _PICTURES])
            except Refusal:
                run.refused += 1
                return
            request.result.add_done_callback(partial(self._answered, run, number, begin, at))

        stop = threading.Event()
        feeder = threading.Thread(target=_feed, args=(loop, offer, begin, due, stop), name="feeder")
        feeder.start()
        try:
            while feeder.is_alive():
                await asyncio.sleep(0.05)
        finally:
            stop.set()
            feeder.join()
        await asyncio.wait_for(engine.drain(), _SETTLE_S)
        await asyncio.sleep(0)  # the callbacks of the last answers
        if len(run.latencies_ms) + run.refused != len(due):
            raise RuntimeError(f"{len(due)} rows were offered, {len(run.latencies_ms)} ended")
        return _checked(run)

    async def closed_loop(self, policy: str, clients: int, seconds: float) -> _Run:
        run = _Run()
        engine = self._engine(policy, run.tally)
        begin = time.monotonic()

        async def client(number: int) -> None:
            while (at := time.monotonic()) < begin + seconds:
                request = engine.offer(self._pictures[number % _PICTURES])
                await request.result
                self._answered(run, number, begin, at, request.result)

        await asyncio.gather(*map(client, range(clients)))
        return _checked(run)

    def _answered(
        self, run: _Run, number: int, begin: float, at: float, result: asyncio.Future[Results]
    ) -> None:
        now = time.monotonic()
        run.latencies_ms.append((now - at) * 1e3)
        run.elapsed_s = now - begin
        expected = self._expected[number % _PICTURES]
        run.wrong += result.exception() is not None or result.result()["scores"].tobytes() != expected

    def _engine(self, policy: str, tally: _Tally) -> Engine:
        report = self._report
        return Engine(
            report.spec,
            self._lane,
            slots=report.slots,
            costs=report.costs,
            policy=policy_named(policy),
            max_queued_rows=1 << 16,
            recorder=tally,
        )


def _checked(run: _Run) -> _Run:
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


def compare(node: Node, *, repeats: int, seconds: float) -> None:
    """Run the comparison and print its tables.

    Args:
        node: the private node of this run.
        repeats: runs of each policy under each load, alternating.
        seconds: length of one run.
    """
    artifact = compile_pictures(node)
    served = Served(artifact.spec.name, {artifact.soc: artifact}, "")
    lane = Lane(partial(open_session, served, slots=SLOTS))
    report = lane.start(60.0)
    try:
        asyncio.run(_compare(_Bench(lane, report), report, repeats, seconds))
    finally:
        lane.close(20.0)


async def _compare(bench: _Bench, report: LaneReport, repeats: int, seconds: float) -> None:
    told = ", ".join(f"{gear}: {ms:.2f}" for gear, ms in report.costs.items())
    print(
        f"\n# policies: one row a request, 150 KB a row, {report.slots} slots; warm-up measured ms {{{told}}}"
    )
    print(
        "'exp.' is the planner alone in simulated time, with t(g) as the only cost and the same arrivals.\n"
    )
    await bench.learn()
    rows = []
    for rate in RATES:
        runs: dict[str, list[_Run]] = {name: [] for name in NAMES}
        plans: dict[str, list[Expectation]] = {name: [] for name in NAMES}
        for repeat in range(repeats):
            due = poisson(rate, seconds, seed=repeat)
            for name in NAMES:
                runs[name].append(await bench.open_loop(name, due))
                plans[name].append(_plan(policy_named(name), seconds, arrivals=due))
        rows += [_open_row(f"{rate}/s", name, runs[name], plans[name], runs[NAMES[0]]) for name in NAMES]
    head = ("open loop", "policy", "mean ms", "exp.", "mean x pad_up", "p99 ms", "exp.", "busy %", "exp.",
            "rows/batch", "padding %", "refused")  # fmt: skip
    print(table(head, rows) + "\n", flush=True)
    rows = []
    for clients in CLIENTS:
        runs = {name: [] for name in NAMES}
        for _ in range(repeats):
            for name in NAMES:
                runs[name].append(await bench.closed_loop(name, clients, seconds))
        for name in NAMES:
            plan = _plan(policy_named(name), seconds, clients=clients)
            rows.append(_closed_row(clients, name, runs[name], plan, runs[NAMES[0]]))
    print(table(("closed loop", "policy", "rows/s", "exp.", "rows/s x pad_up", "p99 ms", "busy %"), rows))


def _plan(policy: Policy, seconds: float, **load: Any) -> Expectation:
    return simulate(policy, COSTS_MS, slots=SLOTS, seconds=seconds, **load)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _open_row(
    load: str, name: str, runs: list[_Run], plans: list[Expectation], baseline: list[_Run]
) -> tuple[str, ...]:
    means = [_mean(run.latencies_ms) for run in runs]
    base = [_mean(run.latencies_ms) for run in baseline]
    return (
        load,
        name,
        Spread.of(means).show(),
        Spread.of([_mean(plan.latencies_ms) for plan in plans]).show(),
        pairwise(means, base).show(),
        Spread.of([percentile(run.latencies_ms, 0.99) for run in runs]).show(1),
        Spread.of([percentile(plan.latencies_ms, 0.99) for plan in plans]).show(1),
        Spread.of([100 * run.busy for run in runs]).show(0),
        Spread.of([100 * plan.busy for plan in plans]).show(0),
        Spread.of([run.rows_per_batch for run in runs]).show(1),
        Spread.of([100 * run.padding for run in runs]).show(0),
        str(sum(run.refused for run in runs)),
    )


def _closed_row(
    clients: int, name: str, runs: list[_Run], plan: Expectation, baseline: list[_Run]
) -> tuple[str, ...]:
    rates = [len(run.latencies_ms) / run.elapsed_s for run in runs]
    return (
        f"{clients} clients",
        name,
        Spread.of(rates).show(0),
        f"{plan.answers_per_s:.0f}",
        pairwise(rates, [len(run.latencies_ms) / run.elapsed_s for run in baseline]).show(),
        Spread.of([percentile(run.latencies_ms, 0.99) for run in runs]).show(1),
        Spread.of([100 * run.busy for run in runs]).show(0),
    )
