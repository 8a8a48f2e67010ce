"""Ray Serve as its documentation shows it: `@serve.batch` around a synchronous call on a thread.

Deployed by `serve run` from a config that names `build`. POST takes the raw bytes of one row and answers the
raw bytes of its output.
"""

# No `from __future__ import annotations`: Serve reads the builder's annotations.

import asyncio
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.baselines.device import Device
from benchmarks.baselines.model import Model
from benchmarks.baselines.process import set_as_ours


@serve.deployment(
    name="Batched",
    # Serve's default of 5 would never fill a batch of 16.
    max_ongoing_requests=256,
    ray_actor_options={"num_cpus": 0.1, "resources": {"NPU": 1}},
)
class Batched:
    """One model; batches as `@serve.batch` makes them, each run by the device at the smallest gear that holds it.

    Args:
        model: the fields of `Model`.
        wait_ms: how long a batch waits for more rows; None: Serve's default.
        tuned: whether its process is set as ours is.
    """

    def __init__(self, model: dict[str, Any], wait_ms: float | None, tuned: bool = False) -> None:
        if tuned:
            set_as_ours()
        self._model = Model(**model)
        self._device = Device(self._model)
        infer: Any = self.infer  # `serve.batch` gives it setters that its type does not tell
        infer.set_max_batch_size(self._model.largest)
        if wait_ms is not None:
            infer.set_batch_wait_timeout_s(wait_ms / 1e3)

    @serve.batch()
    async def infer(self, rows: list[bytes]) -> list[bytes]:
        """Run what came together; on a thread, since in throughput mode this loop also reads requests."""
        return await asyncio.to_thread(self._device.run, rows)

    async def __call__(self, request: Request) -> Response:
        """Answer one row."""
        output = await self.infer(await request.body())
        return Response(output, media_type="application/octet-stream")


def build(args: dict[str, Any]) -> serve.Application:
    """The application; `args` are those of `Batched`."""
    application: serve.Application = Batched.bind(**args)  # type: ignore[attr-defined]  # Ray types it as the class
    return application
