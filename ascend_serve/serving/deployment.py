"""The deployment: one replica owns one NPU for its whole life.

`AscendModel` puts the rooms together and decides nothing itself: a `Lane` opens the device and a `Session` on its own
threads, an `Engine` batches on the event loop, a `DataPlane` checks and names, and the doors (HTTP and Ray
handles) only translate. Every hook that Serve calls is `async` and makes no ACL call, because Serve runs synchronous
hooks on arbitrary threads, where no ACL context is current.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import sys
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import serve

from ascend_serve.dataplane import DataPlane
from ascend_serve.engine import Engine
from ascend_serve.errors import ConfigError
from ascend_serve.protocol.limits import Limits
from ascend_serve.runtime.lane import GC_THRESHOLDS, SWITCH_INTERVAL_S, Lane, LaneReport
from ascend_serve.serving.closing import give_back
from ascend_serve.serving.config import AppConfig
from ascend_serve.serving.front import Tensors, batched_hand, through
from ascend_serve.serving.grpc import GrpcDoors
from ascend_serve.serving.health import check_device
from ascend_serve.serving.http import http_app
from ascend_serve.serving.journal import FileJournal
from ascend_serve.serving.log import logger
from ascend_serve.serving.opening import Opening, Served
from ascend_serve.serving.recorder import ServeRecorder

KEEP_TIMES_S = 300.0
"""How often what the gears take, refined by live batches, is kept for the next start."""


@serve.ingress()
class AscendModel(GrpcDoors):
    """A model on one NPU, behind HTTP and gRPC (Open Inference Protocol v2) and Ray handles (`infer`).

    Args:
        config: the application's settings.
        served: name and artefacts of the model.
    """

    async def __init__(self, config: AppConfig, served: Served) -> None:  # type: ignore[misc]  # Serve awaits it
        _require_one_npu()
        self._config = config
        self._limits = Limits(max_body_bytes=config.limits.max_body_bytes)
        self._opening = Opening(served, slots=config.batching.opening_slots)
        self._lane = Lane(self._opening.sessions, name=f"ascend-lane-{served.name}")
        # The replica's process is ours: a lane thread has to get the GIL from a loop that computes.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.set_threshold(*GC_THRESHOLDS)
        # The loop must stay free while the device opens: in throughput mode it also answers Ray.
        (report,) = await asyncio.to_thread(self._lane.start, config.start_timeout_s)
        spec = dataclasses.replace(report.spec, name=served.name)
        max_rows = config.limits.rows_of(spec)
        self._journal = (
            None if config.batching.journal is None else FileJournal(_own(config.batching.journal))
        )
        self._engine = self._make_engine(report, max_rows)
        await self._engine.prepared()
        self._hand = None
        if config.front == "batch":
            # The replica's effective limit, after the Serve file's overrides; there is no public way to read it.
            permits = serve.get_replica_context()._deployment_config.max_ongoing_requests
            self._hand = batched_hand(
                self._engine, max_batch_size=spec.gears.largest, max_concurrent_batches=permits
            )
        self._plane = DataPlane(
            spec,
            self._submit,
            ready=self._ready,
            max_rows=max_rows,
            padded=config.batching.padded,
            priority_levels=config.batching.priority_levels,
        )
        self._keeping = asyncio.create_task(self._keep_times())
        logger.info(
            f"'{spec.name}' is warm on {report.soc_name}: {_told_times(report)}, {report.slots} slots, "
            f"policy {config.batching.policy}"
        )

    def _make_engine(self, report: LaneReport, max_rows: int) -> Engine:
        batching = self._config.batching
        return Engine(
            report.spec,
            self._lane.runner(0),
            slots=report.slots,
            in_flight=batching.in_flight,
            times=report.times,
            policy=batching.chosen_policy(),
            max_queued_rows=batching.max_queued_rows or 4 * max_rows,
            padded=batching.padded,
            priority_levels=batching.priority_levels,
            default_deadline_s=batching.default_deadline_s,
            deferred=batching.deferred,
            recorder=ServeRecorder(),
            journal=self._journal,
        )

    def __serve_build_asgi_app__(self) -> Any:
        """The HTTP door, served by the replica itself. Serve calls this after the constructor."""
        return http_app(self._plane, self._limits)

    async def infer(
        self,
        tensors: Mapping[str, np.ndarray] | np.ndarray,
        *,
        deadline_s: float | None = None,
        priority: int | None = None,
    ) -> Any:
        """The door for Ray handles: `handle.infer.remote(x)`.

        Args:
            tensors: `{input name: array}`, or one array for a model with one input. Axis 0 counts rows; dtypes
                are those of the model's metadata, nothing is cast. By reference, as handles pass them where nothing
                else is set, they are read-only views on Ray's object store, and no copy is made of them on the way
                to the slot.
            deadline_s: seconds from now after which the answer is of no use.
            priority: 1 for the most urgent level; None for the default.

        Returns:
            `{output name: array}`, or one array if one array was given and the model has one output.

        Raises:
            RequestError: a tensor does not fit the model, or a priority that it does not have.
            Refusal: the queue is full, the replica drains, or the deadline cannot be met.
            DeadlineExpired: the deadline passed while the request waited.
            DeviceError: the batch failed on the device.
        """
        return await self._plane.infer_arrays(tensors, deadline_s=deadline_s, priority=priority)

    async def check_health(self) -> None:
        """Raise if the device failed or a batch does not come back; a caller's mistake never makes this raise.

        It has the lane look at the device, and answers from the lane's heartbeat: what that look finds counts from the
        next check on.

        Raises:
            AclDeviceFault: the device or its driver reported a fault.
            LaneStalled: a batch has been on the device for longer than `stall_timeout_s`.
        """
        self._lane.examine()
        check_device(
            self._lane.heartbeat(),
            self._engine,
            now=time.monotonic(),
            stall_timeout_s=self._config.stall_timeout_s,
        )

    def _ready(self) -> bool:
        return self._lane.heartbeat().fault is None and self._engine.state().fault is None

    def _submit(
        self, tensors: Tensors, *, deadline_s: float | None = None, priority: int | None = None
    ) -> Coroutine[Any, Any, Tensors]:
        # No coroutine of its own: every request would enter it twice.
        deadline = None if deadline_s is None else time.monotonic() + deadline_s
        if self._hand is None:
            return self._engine.submit(tensors, deadline=deadline, priority=priority)
        return through(self._hand, tensors, deadline, priority)

    async def _keep_times(self) -> None:
        while True:
            await asyncio.to_thread(self._opening.keep, self._engine.times())
            await asyncio.sleep(KEEP_TIMES_S)

    async def __del__(self) -> None:
        # Serve awaits this on an orderly shutdown, after the requests in flight; it is the only hook there is. After a
        # kill the driver reclaims what the process held.
        if hasattr(self, "_keeping"):
            self._keeping.cancel()
        if hasattr(self, "_lane"):
            engine, journal = getattr(self, "_engine", None), getattr(self, "_journal", None)
            await give_back(self._lane, self._opening, engine, journal)


def _own(journal: Path) -> Path:
    """The replica's own file: `log.jsonl` becomes `log.<replica>.jsonl`."""
    replica = serve.get_replica_context().replica_id.unique_id
    return journal.absolute().with_name(f"{journal.stem}.{replica}{journal.suffix}")


def _told_times(report: LaneReport) -> str:
    """What the gears take, for the log."""
    told = []
    for index, bucket in enumerate(report.spec.buckets):
        gears = {gear: round(report.times[index, gear].stages.compute_ms, 3) for gear in bucket.gears}
        told.append(f"{dict(bucket.shapes)} {gears}" if report.spec.free else str(gears))
    return f"device ms by gear {'; '.join(told)}"


def _require_one_npu() -> None:
    npus = ray.get_runtime_context().get_accelerator_ids().get("NPU", [])
    if len(npus) != 1:
        raise ConfigError(
            f"this replica was given {len(npus)} NPUs, and it owns exactly one: if the Serve file overrides "
            "ray_actor_options, it must repeat resources: {NPU: 1}"
        )
