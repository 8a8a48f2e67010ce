"""LitServe with dynamic batches; runs in the rivals' environment.

    python -m benchmarks.baselines.litserve_app PORT MODEL...

POST takes the raw bytes of one row and answers the raw bytes of its output. One worker, since there is one device;
`fast_queue` (ZeroMQ) as its documentation recommends for throughput.
"""

# No `from __future__ import annotations`: LitServe hands the annotation of `decode_request` on to FastAPI.

import sys
from typing import Annotated, Any

import litserve  # type: ignore[import-not-found]  # it lives in the rivals' environment
from fastapi import Body, Response

from benchmarks.baselines.device import Device
from benchmarks.baselines.model import Model

WAIT_S = 0.005


class Api(litserve.LitAPI):  # type: ignore[misc]  # nothing is known of it here
    """One device behind LitServe's queue."""

    def __init__(self, model: Model) -> None:
        super().__init__(max_batch_size=model.largest, batch_timeout=WAIT_S, api_path="/predict")
        self.model = model

    def setup(self, device: Any) -> None:
        """Open the card, in the worker."""
        self.device_of_rows = Device(self.model)

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]) -> bytes:
        """Take the body as it is."""
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Keep rows apart: the device places them itself."""
        return inputs

    def predict(self, x: list[bytes]) -> list[bytes]:
        """Run what came together."""
        return self.device_of_rows.run(x)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """They are apart."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """Answer the bytes."""
        return Response(output, media_type="application/octet-stream")


if __name__ == "__main__":
    server = litserve.LitServer(
        Api(Model.of_words(sys.argv[2:])), accelerator="cpu", workers_per_device=1, fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
