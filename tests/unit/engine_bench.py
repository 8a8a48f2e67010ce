"""What the tests of the engine share: a lane that runs a batch when the test says so, and a clock held by the test."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ascend_serve.batching.packing import Tensors
from ascend_serve.batching.policy import PadUp
from ascend_serve.engine import Engine, Request
from ascend_serve.errors import AclDeviceFault, AclServiceError
from ascend_serve.metrics import Outcome
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec
from ascend_serve.spec.timing import Stages, Timing

SPEC = ModelSpec(
    name="doubler",
    inputs=(TensorSpec("x", DataType.INT32, (-1, 2)),),
    outputs=(TensorSpec("y", DataType.INT32, (-1, 2)),),
    gears=Gears((1, 4, 8)),
)
TIMES = {(0, gear): Timing(Stages(0.0, ms, 0.0), 0.0, 5) for gear, ms in ((1, 1.0), (4, 2.0), (8, 3.0))}
FAULT = AclDeviceFault("acl.rt.synchronize_event", 507011, "AICORE", "the AI core failed")
SERVICE = AclServiceError("acl.mdl.execute_async", 300000, "STATE", "not now")


@dataclass
class Launch:
    """A batch at the fake lane."""

    slot: int
    bucket: int
    gear: int
    pack: Callable[[Tensors], None]
    unpack: Callable[[Tensors], None]
    done: Callable[[BaseException | None, Stages | None], None]


class Lane:
    """A runner whose batches run when the test says so; the model doubles every number of `x` into `y`.

    Args:
        slots: how many it has.
        spec: of the model; its largest gear is 8, its rows have any shape.
    """

    def __init__(self, slots: int, spec: ModelSpec = SPEC) -> None:
        self.inputs = [
            [{"x": np.full((8, *bucket.shapes["x"]), -1, np.int32)} for bucket in spec.buckets]
            for _ in range(slots)
        ]
        self.batches: list[Launch] = []
        self.gears: list[int] = []
        self.refusal: Exception | None = None

    def launch(self, slot: int, bucket: int, gear: int, *rest: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.batches.append(Launch(slot, bucket, gear, *rest))
        self.gears.append(gear)

    def run(self, stages: Stages | None = None) -> NDArray[Any]:
        """Run the oldest batch; the input rows of its gear."""
        batch = self.batches.pop(0)
        slot = self.inputs[batch.slot][batch.bucket]
        batch.pack(slot)
        packed: NDArray[Any] = slot["x"][: batch.gear].copy()
        batch.unpack({"y": slot["x"] * 2})
        batch.done(None, stages)
        return packed

    def fail(self, error: BaseException) -> None:
        """Have the oldest batch fail."""
        self.batches.pop(0).done(error, None)


@dataclass
class Notes:
    """A recorder that keeps everything."""

    ends: list[tuple[Outcome, int, list[float]]] = field(default_factory=list)
    sealed: list[tuple[int, int, float]] = field(default_factory=list)
    batches: list[tuple[int, float]] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    flushed: list[int] = field(default_factory=list)

    def request_refused(self, rows: int, reason: str) -> None:
        self.refused.append(rows)

    def requests_ended(self, outcome: Outcome, rows: int, times_ms: Sequence[float]) -> None:
        self.ends.append((outcome, rows, list(times_ms)))

    def batch_sealed(self, gear: int, rows: int, longest_wait_ms: float) -> None:
        self.sealed.append((gear, rows, longest_wait_ms))

    def batch_ended(self, gear: int, device_ms: float, stages: object) -> None:
        self.batches.append((gear, device_ms))

    def flush(self, queued_rows: int, drift: object) -> None:
        self.flushed.append(queued_rows)

    def outcomes(self) -> list[Outcome]:
        """How each request ended."""
        return [outcome for outcome, _, times_ms in self.ends for _ in times_ms]


class Bench:
    """An engine on a fake lane, with a clock; what is not given is as in `SPEC`, `TIMES` and rounding up."""

    def __init__(self, *, spec: ModelSpec = SPEC, slots: int = 2, **settings: Any) -> None:
        self.now = 100.0
        self.lane = Lane(slots, spec)
        self.notes = Notes()
        defaults: dict[str, Any] = {
            "times": TIMES,
            "policy": PadUp(),
            "max_queued_rows": 64,
            "clock": lambda: self.now,
            "recorder": self.notes,
        }
        self.engine = Engine(spec, self.lane, slots=slots, **defaults | settings)

    def offer(
        self, rows: int, first: int = 0, deadline: float | None = None, priority: int | None = None
    ) -> Request:
        return self.engine.offer(tensors(rows, first), deadline=deadline, priority=priority)


def tensors(rows: int, first: int = 0) -> dict[str, NDArray[Any]]:
    """Rows that are told apart by their numbers, from `first` on."""
    return {"x": np.arange(2 * first, 2 * (first + rows), dtype=np.int32).reshape(rows, 2)}


def doubled(rows: int, first: int = 0) -> NDArray[Any]:
    """What the model makes of `tensors`."""
    doubles: NDArray[Any] = tensors(rows, first)["x"] * 2
    return doubles


async def turns(count: int = 3) -> None:
    """Let the loop do all that is ready."""
    for _ in range(count):
        await asyncio.sleep(0)
