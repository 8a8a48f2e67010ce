"""The deployment: one replica owns one NPU for its whole life.

`AscendModel` puts the rooms together and decides nothing itself: a `Lane` opens the device and a `Session` for each
model on its own threads, a `ServedModel` is what a model has for itself (an `Engine` that batches on the event loop, a
`DataPlane` that checks and names), a `Repository` finds models, and the doors (HTTP, gRPC and Ray handles) only
translate. Every hook that Serve calls is `async` and makes no ACL call, because Serve runs synchronous hooks on
arbitrary threads, where no ACL context is current.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import serve
from ray.serve._private.tracing_utils import is_tracing_enabled

from ascend_serve.batching.sharing import Share
from ascend_serve.errors import AclDeviceFault, ConfigError, DeviceError, LaneStalled
from ascend_serve.protocol.limits import Limits
from ascend_serve.repository import Repository
from ascend_serve.runtime.lane import GC_THRESHOLDS, SWITCH_INTERVAL_S, Lane, LaneReport
from ascend_serve.serving.closing import give_back
from ascend_serve.serving.config import AppConfig, ModelConfig
from ascend_serve.serving.doors.ahead import Gate
from ascend_serve.serving.doors.grpc import GrpcDoors
from ascend_serve.serving.doors.http import HttpApp
from ascend_serve.serving.doors.processing import HookedDoors
from ascend_serve.serving.doors.references import fetched, has_references
from ascend_serve.serving.doors.tokens import tokens_of
from ascend_serve.serving.fleet.capacity import Capacity
from ascend_serve.serving.fleet.elsewhere import Elsewhere, answer_here, behind
from ascend_serve.serving.fleet.lost import ReplicaLost
from ascend_serve.serving.fleet.pacing import Pacing
from ascend_serve.serving.fleet.quarantine import Quarantine, is_of_the_card
from ascend_serve.serving.fleet.scaling_settings import capacity_scaling
from ascend_serve.serving.front import batched_submit
from ascend_serve.serving.health import watch_device
from ascend_serve.serving.log import logger
from ascend_serve.serving.opening import Opening, Served
from ascend_serve.serving.reconfiguring import Reconfiguring
from ascend_serve.serving.served_model import ServedModel
from ascend_serve.serving.watching.journal import FileJournal
from ascend_serve.serving.watching.observing import Observer
from ascend_serve.serving.watching.recorder import DeviceRecorder, DoorRecorder, ServeRecorder
from ascend_serve.tracing import ReplicaTrace

KEEP_TIMES_S = 300.0
"""How often what the gears take, refined by live batches, is kept for the next start."""


@serve.ingress()
class AscendModel(GrpcDoors):
    """Models on one NPU, behind HTTP and gRPC (Open Inference Protocol v2) and Ray handles (`infer`).

    Args:
        config: the application's settings.
        served: name, version and artefacts of each of `config.served`.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, config: AppConfig, served: Sequence[Served]
    ) -> None:
        _require_one_npu()
        self._config = config
        self._tokens = (
            None if config.tokens is None else tokens_of(config.tokens.file, config.tokens.variable)
        )
        self._models: list[ServedModel] = []
        self._opening = Opening(
            served,
            slots=[model.batching.opening_slots for model in config.served],
            memory_of=config.memory_of,
        )
        self._lane = Lane(self._opening.sessions, name=f"ascend-lane-{served[0].name}")
        # The replica's process is ours: a lane thread has to get the GIL from a loop that computes.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.set_threshold(*GC_THRESHOLDS)
        # The loop must stay free while the device opens: in throughput mode it also answers Ray.
        self._quarantine = Quarantine(config.quarantine_s, config.replica_npus)
        try:
            reports = await asyncio.to_thread(self._lane.start, config.start_timeout_s)
        except DeviceError as error:
            if is_of_the_card(error):
                await self._quarantine.sit_out(error)
            raise
        self._opening.settle([report.slots for report in reports])
        share = Share(max(report.slots for report in reports))
        for number, (model, told, report) in enumerate(zip(config.served, served, reports, strict=True)):
            self._models.append(self._served(number, model, told, report, share))
        for ready in self._models:
            await ready.prepared()
            logger.info(ready.told())
        self._pacing = Pacing(self._models)
        self._capacity = None
        if (scaling := capacity_scaling(config.autoscaling)) is not None:
            self._capacity = Capacity(self._models, scaling)
            await self._capacity.reckon()
        self._repository = Repository([model.plane for model in self._models])
        self._limits = Limits(max_body_bytes=config.limits.max_body_bytes)
        hooked = HookedDoors([model.processing for model in self._models if model.processing is not None])
        self._gate = Gate({model.plane: model.patience for model in self._models})
        self._gate.let(self._ahead())
        doors = DoorRecorder()
        self._count_failed = doors.grpc_failed
        self._http = HttpApp(self._repository, self._limits, hooked, self._tokens, self._gate, doors.failed)
        names = [told.name for told in served]
        self._reconfiguring = Reconfiguring(config, names, self._models, self._limit)
        replica = serve.get_replica_context().replica_id.unique_id
        node = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]  # Ray gives it no types
        self._observer = Observer(self._lane, replica, node)
        self._telling = asyncio.create_task(self._observer.keep_memory_told(DeviceRecorder()))
        self._keeping = asyncio.create_task(self._keep_times())

    def _served(
        self, number: int, config: ModelConfig, told: Served, report: LaneReport, share: Share
    ) -> ServedModel:
        journal, front = config.batching.journal, None
        elsewhere = Elsewhere(told.name, told.version)
        if self._config.front == "batch":
            # The replica's effective limit, after the Serve file's overrides; there is no public way to read it.
            permits = serve.get_replica_context()._deployment_config.max_ongoing_requests
            front = behind(partial(batched_submit, max_concurrent_batches=permits), elsewhere)
        return ServedModel(
            config,
            told.version,
            report,
            lane=self._lane,
            number=number,
            share=share,
            opening=self._opening,
            elsewhere=elsewhere,
            recorder=ServeRecorder(told.name, told.version),
            journal=None if journal is None else FileJournal(_own(journal)),
            front=front,
        )

    def _ahead(self) -> int | None:
        """How many requests may run at a time that are answered ahead of Serve; None where it has to see them all."""
        # What holds by now: after the Serve file's overrides, of which Serve changes some while a replica lives. There
        # is no public way to read it.
        told = serve.get_replica_context()._deployment_config
        is_counted_on = (
            self._config.accounting == "serve"
            or self._config.router == "finish_first"
            or (told.autoscaling_config is not None and self._capacity is None)
            or told.max_queued_requests != -1
            or is_tracing_enabled()
        )
        if is_counted_on:
            return None
        permits: int = told.max_ongoing_requests
        return permits

    def __serve_build_asgi_app__(self) -> Any:
        """The HTTP door, served by the replica itself. Serve calls this after the constructor."""
        return self._http

    async def infer(
        self,
        tensors: Mapping[str, np.ndarray] | np.ndarray,
        *,
        model: str | None = None,
        version: str | None = None,
        deadline_s: float | None = None,
        priority: int | None = None,
    ) -> Any:
        """The door for Ray handles: `handle.infer.remote(x)`, or `handle.infer.remote(x, model="digits")`.

        Args:
            tensors: `{input name: array}`, or one array for a model with one input. Axis 0 counts rows; dtypes
                are those of the model's metadata, nothing is cast. By reference, as handles pass them where nothing
                else is set, they are read-only views on Ray's object store, and no copy is made of them on the way
                to the slot. Values of a mapping may be `ObjectRef`s, and so may the one array.
            model: the model's name; it may be left out where there is but one.
            version: of the model; None for the newest.
            deadline_s: seconds from now after which the answer is of no use.
            priority: 1 for the most urgent level; None for the default.

        Returns:
            `{output name: array}`, or one array if one array was given and the model has one output.

        Raises:
            ModelNotFound: no such model or version, or none was named and there are several.
            RequestError: a tensor does not fit the model, or a priority that it does not have.
            Refusal: the queue is full, the replica drains, or the deadline cannot be met.
            DeadlineExpired: the deadline passed while the request waited.
            DeviceError: the batch failed on the device.
        """
        plane = self._repository.plane_of_call(model, version)
        if has_references(tensors):
            assert isinstance(tensors, Mapping), "references are looked for in mappings alone"
            tensors, deadline_s = await fetched(tensors, deadline_s)
        return await plane.infer_arrays(tensors, deadline_s=deadline_s, priority=priority)

    async def reconfigure(self, user_config: object) -> None:
        """Take the deployment's `user_config` (`serving.live`); what waits and what runs goes on.

        Args:
            user_config: as the Serve file has it.

        Raises:
            ConfigError: it is wrong, and the replica is starting; later that is logged, and changes nothing.
        """
        await self._reconfiguring.take(user_config)

    def _limit(self, max_body_bytes: int) -> None:
        self._limits = replace(self._limits, max_body_bytes=max_body_bytes)
        self._http.limit(self._limits)

    async def infer_for_another(
        self,
        tensors: Mapping[str, np.ndarray],
        model: str,
        version: str,
        deadline_s: float,
        priority: int | None,
    ) -> Mapping[str, np.ndarray]:
        """The door for replicas of this deployment that have lost their device (`serving.fleet.elsewhere`).

        Args:
            tensors: all inputs by name, checked by the replica that sends them.
            model: the model's name.
            version: of the model.
            deadline_s: seconds from now after which the answer is of no use.
            priority: as for `infer`.

        Raises:
            ReplicaLost: this replica's device is lost as well, or this is the replica that asked.
            AscendServeError: what ended the request.
        """
        plane = self._repository.plane(model, version)
        (engine,) = (served.engine for served in self._models if served.plane is plane)
        return await answer_here(engine, tensors, deadline_s, priority)

    async def check_health(self) -> None:
        """Raise if the device failed or a batch does not come back; a caller's mistake never makes this raise.

        It has the lane look at the device, and answers from the lane's heartbeat: what that look finds counts from the
        next check on.

        Raises:
            ReplicaLost: the device or its driver reported a fault, or a batch has been on the device for longer than
                `stall_timeout_s`; Serve replaces the replica at once.
        """
        self._gate.let(self._ahead())
        self._lane.examine()
        engines = [model.engine for model in self._models]
        try:
            await watch_device(self._lane.heartbeat, engines, stall_timeout_s=self._config.stall_timeout_s)
        except (AclDeviceFault, LaneStalled) as fault:
            raise ReplicaLost(fault) from None
        self._reconfiguring.in_service = True  # the first check is the last step of a replica's start

    async def record_replica_metadata(self) -> dict[str, Any]:
        """What routers know of this replica from its first request on; see `record_routing_stats`."""
        return await self.record_routing_stats()

    async def record_routing_stats(self) -> dict[str, Any]:
        """What Serve passes on to routers now and then: the times of gears, where requests are routed by them."""
        return self._pacing.stats() if self._config.router == "finish_first" else {}

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve hands to an autoscaling policy now and then: the load and what the replica bears of it."""
        return {} if self._capacity is None else self._capacity.stats()

    async def trace(self, seconds: float = 2.0) -> ReplicaTrace:
        """Record what requests, batches and the device do; `handle.broadcast("trace", seconds=2)` asks all replicas.

        `ascend_serve.tracing.timeline` makes a file for a trace viewer of it. Every batch is timed meanwhile.

        Args:
            seconds: how long, at most 60.

        Raises:
            ConfigError: seconds out of their range.
            Refusal: a timeline or a profile of this replica is being taken.
        """
        models = [(model.plane.spec.name, model.plane.version, model.engine) for model in self._models]
        return await self._observer.trace(models, seconds)

    async def profile(self, folder: str, seconds: float = 2.0, counters: str = "none") -> dict[str, Any]:
        """Run CANN's profiler; `handle.broadcast("profile", "/tmp/profiles")` asks all replicas.

        Args:
            folder: absolute; the data goes below it, on the replica's node.
            seconds: how long, at most 60.
            counters: of the AI core: none, arithmetic, pipe, memory, l0, conflicts, unified_buffer or l2.

        Returns:
            `replica`, `node` and `folder`, where the data lies.

        Raises:
            ConfigError: an argument is wrong.
            Refusal: a timeline or a profile of this replica is being taken.
            AclError: the profiler refused.
        """
        return await self._observer.profile(seconds, folder, counters)

    async def _keep_times(self) -> None:
        while True:
            for model in self._models:
                await asyncio.to_thread(model.keep_times)
            await asyncio.sleep(KEEP_TIMES_S)

    async def __del__(self) -> None:
        # Serve awaits this on an orderly shutdown, after the requests in flight; it is the only hook there is. After a
        # kill the driver reclaims what the process held.
        if hasattr(self, "_keeping"):
            self._keeping.cancel()
            self._telling.cancel()
        if hasattr(self, "_lane"):
            await give_back(self._lane, self._models)
        if hasattr(self, "_quarantine"):
            await self._quarantine.hold()


def _own(journal: Path) -> Path:
    """The replica's own file: `log.jsonl` becomes `log.<replica>.jsonl`."""
    replica = serve.get_replica_context().replica_id.unique_id
    return journal.absolute().with_name(f"{journal.stem}.{replica}{journal.suffix}")


def _require_one_npu() -> None:
    """Refuse a replica that was given no NPU, or several; a part of one is one, which Ray shows as a whole."""
    npus = ray.get_runtime_context().get_accelerator_ids().get("NPU", [])
    if len(npus) != 1:
        raise ConfigError(
            f"this replica was given {len(npus)} NPUs, and it runs on exactly one: if the Serve file overrides "
            "ray_actor_options, it must repeat resources: {NPU: 1}, or the part of one that args.replica_npus says"
        )
