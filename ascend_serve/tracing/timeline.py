"""Traces of replicas in Chrome's trace format, which Perfetto and chrome://tracing show. Pure.

A replica is a process. Its threads are, from above: the engines of its device; the slots, with the batch that each
holds; the requests, in as many lanes as there were at once. Arrows lead from a request to the batches that its rows
were in. A counter shows the rows that wait.

Rests on the document "Trace Event Format" (Google, 2016): times in microseconds; `X` a slice with `ts` and `dur`,
nested by time within a thread; `i` a moment; `C` a counter; `s` and `f` the ends of an arrow, each inside a slice; `M`
the names and places of processes and threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from heapq import heappop, heappush
from typing import Any

from ascend_serve.spec.timing import DeviceRun
from ascend_serve.tracing.recording import ModelTrace, ReplicaTrace
from ascend_serve.tracing.story import BatchStory, RequestStory, Story, tell

COPY_IN, COMPUTE, COPY_OUT = 1, 2, 3
_ENGINES = {COPY_IN: "copy in", COMPUTE: "compute", COPY_OUT: "copy out"}
_SLOTS, _REFUSALS, _REQUESTS = 1_000, 9_000, 10_000
_PER_MODEL = 100_000
"""Threads of a model begin at multiples of this, so that its slots, refusals and lanes stand together."""

Events = Iterator[dict[str, Any]]


def timeline(traces: Sequence[ReplicaTrace]) -> dict[str, Any]:
    """The JSON object of a trace file; time 0 is when the first replica's trace began.

    Args:
        traces: of replicas, whose clocks are joined by their wall clocks, as well as those agree.
    """
    began = min((trace.began_at + trace.unix_offset_s for trace in traces), default=0.0)
    events: list[dict[str, Any]] = []
    for process, trace in enumerate(traces, start=1):
        events += _Drawing(process, began - trace.unix_offset_s).of(trace)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"began": datetime.fromtimestamp(began, timezone.utc).isoformat()},
    }


class _Drawing:
    """Draws one replica as process number `process`; `zero` is the moment that is time 0."""

    def __init__(self, process: int, zero: float) -> None:
        self._process = process
        self._zero = zero
        self._arrows = 0

    def of(self, trace: ReplicaTrace) -> Events:
        name = f"{trace.replica} · {trace.soc_name} · {trace.node}"
        yield self._head("process_name", 0, name=name)
        yield self._head("process_sort_index", 0, sort_index=self._process)
        for thread, engine in _ENGINES.items():
            yield from self._thread(thread, engine)
        runs: list[tuple[str, DeviceRun, BatchStory | None]] = []
        for number, model in enumerate(trace.models):
            story = tell(model.events, model.runs, trace.ended_at)
            runs += [(model.name, batch.run, batch) for batch in story.batches if batch.run is not None]
            runs += [(model.name, run, None) for run in story.strays]
            yield from self._model(model, story, number * _PER_MODEL)
        yield from self._engines(runs)

    def _model(self, model: ModelTrace, story: Story, first: int) -> Events:
        of_model = f"{model.name} {model.version}".strip()
        for slot in sorted({batch.slot for batch in story.batches}):
            yield from self._thread(first + _SLOTS + slot, f"{of_model} slot {slot}")
        for batch in story.batches:
            yield self._batch(batch, first + _SLOTS + batch.slot)
        if story.refusals:
            yield from self._thread(first + _REFUSALS, f"{of_model} refusals")
        for at, reason in story.refusals:
            yield self._event("i", reason, first + _REFUSALS, at, s="t", cat="refusal")
        lanes = list(_in_lanes(story.requests))
        for lane in range(max((lane for lane, _ in lanes), default=-1) + 1):
            yield from self._thread(first + _REQUESTS + lane, f"{of_model} requests {lane}")
        for lane, request in lanes:
            yield from self._request(request, story.batches, first + _REQUESTS + lane, first + _SLOTS)
        for at, rows in story.queue:
            yield self._event("C", f"{of_model} rows that wait", 0, at, args={"rows": rows})

    def _engines(self, runs: Iterable[tuple[str, DeviceRun, BatchStory | None]]) -> Events:
        free_at = dict.fromkeys(_ENGINES, 0.0)
        for model, run, batch in sorted(runs, key=lambda each: each[1].compute_at):
            begins = (run.copy_in_at, run.compute_at, run.copy_out_at)
            for engine, at, ms in zip(_ENGINES, begins, run.stages, strict=True):
                if not ms:
                    continue  # a board copies nothing
                # An engine does one thing at a time; what overlaps is the clock's rounding.
                begin, end = max(at, free_at[engine]), max(at + ms / 1e3, free_at[engine])
                free_at[engine] = end
                name = model if batch is None else f"{model} gear {batch.gear}"
                yield self._slice(name, engine, begin, end, cat="device", args=_told(run, batch))

    def _batch(self, batch: BatchStory, thread: int) -> dict[str, Any]:
        name = f"gear {batch.gear}" + (" failed" if batch.failed else "")
        args = {
            "batch": batch.number,
            "rows": batch.rows,
            "padding": batch.gear - batch.rows,
            "bucket": batch.bucket,
        }
        return self._slice(name, thread, batch.sealed_at, batch.ended_at, cat="batch", args=args)

    def _request(
        self, request: RequestStory, batches: Sequence[BatchStory], thread: int, slots: int
    ) -> Events:
        args = {"ticket": request.ticket, "rows": request.rows, "outcome": request.outcome}
        name = f"{request.rows} rows" + ("" if request.outcome == "done" else f" {request.outcome}")
        yield self._slice(name, thread, request.offered_at, request.ended_at, cat="request", args=args)
        waited_until = request.ended_at if request.sealed_at is None else request.sealed_at
        yield self._slice("waits", thread, request.offered_at, waited_until, cat="request")
        for number in request.batches:
            batch = batches[number]
            self._arrows += 1
            arrow = {"id": self._process * 10_000_000 + self._arrows, "cat": "rows"}
            yield self._event("s", "rows", thread, batch.sealed_at, **arrow)
            yield self._event("f", "rows", slots + batch.slot, batch.sealed_at, bp="e", **arrow)

    # --- events ------------------------------------------------------------------------------------

    def _slice(self, name: str, thread: int, begin: float, end: float, **more: Any) -> dict[str, Any]:
        ts, until = self._us(begin), self._us(end)
        return self._event("X", name, thread, begin, dur=round(max(0.0, until - ts), 3), **more)

    def _event(self, phase: str, name: str, thread: int, at: float, **more: Any) -> dict[str, Any]:
        return {"ph": phase, "name": name, "pid": self._process, "tid": thread, "ts": self._us(at), **more}

    def _thread(self, thread: int, name: str) -> Events:
        yield self._head("thread_name", thread, name=name)
        yield self._head("thread_sort_index", thread, sort_index=thread)

    def _head(self, what: str, thread: int, **args: Any) -> dict[str, Any]:
        return {"ph": "M", "name": what, "pid": self._process, "tid": thread, "args": args}

    def _us(self, at: float) -> float:
        return round((at - self._zero) * 1e6, 3)


def _told(run: DeviceRun, batch: BatchStory | None) -> dict[str, Any]:
    told: dict[str, Any] = {"slot": run.slot}
    if batch is not None:
        told |= {"batch": batch.number, "rows": batch.rows, "gear": batch.gear}
    return told


def _in_lanes(requests: Iterable[RequestStory]) -> Iterator[tuple[int, RequestStory]]:
    """Each request with a lane in which nothing else is at that time; as few lanes as that takes."""
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    lanes = 0
    for request in sorted(requests, key=lambda each: each.offered_at):
        while busy and busy[0][0] <= request.offered_at:
            heappush(free, heappop(busy)[1])
        if free:
            lane = heappop(free)
        else:
            lane, lanes = lanes, lanes + 1
        heappush(busy, (request.ended_at, lane))
        yield lane, request
