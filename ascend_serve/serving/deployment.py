"""The deployment: one replica owns one NPU for its whole life.

`AscendModel` puts the rooms together and decides nothing itself: a `Lane` opens the device and a `Session` on its own
threads, an `Engine` batches on the event loop, a `DataPlane` checks and names, and the doors (HTTP and Ray
handles) only translate. Every hook that Serve calls is `async` and makes no ACL call, because Serve runs synchronous
hooks on arbitrary threads, where no ACL context is current.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import ray
from ray import serve

from ascend_serve.dataplane import DataPlane
from ascend_serve.engine import Engine
from ascend_serve.errors import ConfigError, LaneStalled
from ascend_serve.protocol.limits import Limits
from ascend_serve.runtime.lane import Lane
from ascend_serve.serving.config import AppConfig
from ascend_serve.serving.front import Tensors, batched_hand, direct_hand, through
from ascend_serve.serving.health import check_device
from ascend_serve.serving.http import http_app
from ascend_serve.serving.opening import Served, open_session
from ascend_serve.serving.recorder import ServeRecorder

logger = logging.getLogger("ray.serve")

CLOSE_TIMEOUT_S = 10.0
"""Bound on giving the device back; below Serve's `graceful_shutdown_timeout_s` of 20 s, past which it kills."""


@serve.ingress()
class AscendModel:
    """A model on one NPU, behind HTTP (Open Inference Protocol v2) and Ray handles (`infer`).

    Args:
        config: the application's settings.
        served: name and artefacts of the model.
    """

    async def __init__(self, config: AppConfig, served: Served) -> None:  # type: ignore[misc]  # Serve awaits it
        _require_one_npu()
        self._config = config
        self._lane = Lane(
            partial(open_session, served, slots=config.batching.slots), name=f"ascend-lane-{served.name}"
        )
        # The loop must stay free while the device opens: in throughput mode it also answers Ray.
        report = await asyncio.to_thread(self._lane.start, config.start_timeout_s)
        spec = dataclasses.replace(report.spec, name=served.name)
        largest = spec.gears.largest
        max_rows = config.limits.rows_of(spec)
        batching = config.batching
        self._engine = Engine(
            spec,
            self._lane,
            slots=batching.slots,
            in_flight=batching.in_flight,
            costs=report.costs,
            policy=batching.chosen_policy(),
            max_queued_rows=batching.max_queued_rows or 4 * max_rows,
            recorder=ServeRecorder(),
        )
        if config.front == "batch":
            # The replica's effective limit, after the Serve file's overrides; there is no public way to read it.
            permits = serve.get_replica_context()._deployment_config.max_ongoing_requests
            self._hand = batched_hand(self._engine, max_batch_size=largest, max_concurrent_batches=permits)
        else:
            self._hand = direct_hand(self._engine)
        self._plane = DataPlane(spec, self._submit, ready=self._ready, max_rows=max_rows)
        logger.info(
            f"'{spec.name}' is warm on {report.soc_name}: gears {list(spec.gears)}, device ms "
            f"{ {gear: round(ms, 3) for gear, ms in report.costs.items()} }, {batching.slots} slots"
        )

    def __serve_build_asgi_app__(self) -> Any:
        """The HTTP door, served by the replica itself. Serve calls this after the constructor."""
        return http_app(self._plane, Limits(max_body_bytes=self._config.limits.max_body_bytes))

    async def infer(self, tensors: Mapping[str, np.ndarray] | np.ndarray) -> Any:
        """The door for Ray handles: `handle.infer.remote(x)`.

        Args:
            tensors: `{input name: array}`, or one array for a model with one input. Axis 0 counts rows; dtypes
                are those of the model's metadata, nothing is cast.

        Returns:
            `{output name: array}`, or one array if one array was given and the model has one output.

        Raises:
            RequestError: a tensor does not fit the model.
            Refusal: the queue is full or the replica drains.
            DeviceError: the batch failed on the device.
        """
        return await self._plane.infer_arrays(tensors)

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

    async def _submit(self, tensors: Tensors, *, deadline_s: float | None = None) -> Tensors:
        deadline = None if deadline_s is None else time.monotonic() + deadline_s
        return await through(self._hand, tensors, deadline)

    async def __del__(self) -> None:
        # Serve awaits this on an orderly shutdown, after the requests in flight; it is the only hook there is. After a
        # kill the driver reclaims what the process held.
        if hasattr(self, "_engine"):
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._engine.drain(), CLOSE_TIMEOUT_S / 2)
        if hasattr(self, "_lane"):
            try:
                await asyncio.to_thread(self._lane.close, CLOSE_TIMEOUT_S / 2)
            except LaneStalled:
                logger.exception(
                    "the device did not come back in time; its memory is reclaimed when this process ends"
                )


def _require_one_npu() -> None:
    npus = ray.get_runtime_context().get_accelerator_ids().get("NPU", [])
    if len(npus) != 1:
        raise ConfigError(
            f"this replica was given {len(npus)} NPUs, and it owns exactly one: if the Serve file overrides "
            "ray_actor_options, it must repeat resources: {NPU: 1}"
        )
