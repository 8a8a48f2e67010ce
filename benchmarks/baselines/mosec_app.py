"""mosec (a Rust server, Python workers) with dynamic batches; runs in the rivals' environment.

    BENCH_MODEL="..." python -m benchmarks.baselines.mosec_app --port PORT

POST takes the raw bytes of one row and answers the raw bytes of its output. mosec reads the command line itself and
starts its workers anew, so the model comes by the environment.
"""

from __future__ import annotations

import os

import mosec  # type: ignore[import-not-found]  # it lives in the rivals' environment

from benchmarks.baselines.device import Device
from benchmarks.baselines.model import MOSEC_MODEL, Model

WAIT_MS = 5


class Infer(mosec.Worker):  # type: ignore[misc]  # nothing is known of it here
    """One device; mosec calls `forward` with what came together."""

    resp_mime_type = "application/octet-stream"

    def __init__(self) -> None:
        super().__init__()
        self._device = Device(Model.of_words(os.environ[MOSEC_MODEL].split()))

    def deserialize(self, data: bytes) -> bytes:
        """Take the body as it is."""
        return data

    def forward(self, data: list[bytes]) -> list[bytes]:
        """Run what came together."""
        return self._device.run(data)

    def serialize(self, data: bytes) -> bytes:
        """Answer the bytes."""
        return data


if __name__ == "__main__":
    server = mosec.Server()
    largest = Model.of_words(os.environ[MOSEC_MODEL].split()).largest
    server.append_worker(Infer, max_batch_size=largest, max_wait_time=WAIT_MS)
    server.run()
