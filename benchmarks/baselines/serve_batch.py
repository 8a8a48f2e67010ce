"""Plain Ray Serve as its documentation shows it: `@serve.batch` around a synchronous call, padded to one size.

Deployed by `serve run` from a config that names `build`. POST takes the raw bytes of one row and answers the
raw bytes of its output.
"""

# No `from __future__ import annotations`: Serve reads the builder's annotations.

from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.baselines.by_hand import HandModel

GEAR = 16


@serve.deployment(
    name="Batched",
    # Serve's default of 5 would never fill a batch of 16.
    max_ongoing_requests=4 * GEAR,
    ray_actor_options={"num_cpus": 0.25, "resources": {"NPU": 1}},
)
class Batched:
    """One model at one gear; batches as `@serve.batch` makes them with its default wait."""

    def __init__(self, path: str, row_bytes: int, output_row_bytes: int) -> None:
        self._model = HandModel(path, GEAR, row_bytes, output_row_bytes)

    @serve.batch(max_batch_size=GEAR)
    async def infer(self, rows: list[bytes]) -> list[bytes]:
        """Run what came together."""
        return self._model.run(rows)

    async def __call__(self, request: Request) -> Response:
        """Answer one row."""
        output = await self.infer(await request.body())
        return Response(output, media_type="application/octet-stream")


def build(args: dict[str, Any]) -> serve.Application:
    """The application; `args` are those of `Batched`."""
    application: serve.Application = Batched.bind(**args)  # type: ignore[attr-defined]  # Ray types it as the class
    return application
