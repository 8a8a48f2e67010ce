"""The two models that are served: rows of 4 KB (the shipped digits model) and of 150 KB."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ascend_serve.artifacts.store import Artifact
from benchmarks.baselines.model import Model
from benchmarks.http_load import request
from benchmarks.node import Node, compile_digits, compile_pictures, digit_rows

DISTINCT = 32
"""Different rows that are sent, so that a mixed-up answer is noticed."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One model and the rows that are sent to it.

    Attributes:
        name: the bytes of a row, in words.
        model: the model's name in URLs.
        artifact: the compiled model.
        rows: some different ones.
    """

    name: str
    model: str
    artifact: Artifact
    rows: list[bytes]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.artifact.spec.input_row_bytes

    @property
    def output_row_bytes(self) -> int:
        """Bytes of one row's output."""
        return self.artifact.spec.output_row_bytes

    def for_rivals(self) -> Model:
        """What a rival's device is told."""
        gears = ",".join(str(gear) for gear in self.artifact.spec.gears)
        return Model(str(self.artifact.fetch()), gears, self.row_bytes, self.output_row_bytes)

    def raw(self, path: str, headers: Mapping[str, str]) -> tuple[bytes, ...]:
        """Whole requests whose bodies are a row's bytes."""
        return tuple(request(path, row, headers) for row in self.rows)

    def oip(self, path: str, headers: Mapping[str, str]) -> tuple[bytes, ...]:
        """Whole requests in the binary extension of the Open Inference Protocol."""
        (tensor,) = self.artifact.spec.inputs
        described = {
            "name": tensor.name,
            "shape": [1, *tensor.shape[1:]],
            "datatype": tensor.dtype.name,
            "parameters": {"binary_data_size": self.row_bytes},
        }
        head = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
        all_headers = {
            "Inference-Header-Content-Length": str(len(head)),
            "Content-Type": "application/octet-stream",
            **headers,
        }
        path = f"{path}/v2/models/{self.model}/infer"
        return tuple(request(path, head + row, all_headers) for row in self.rows)


def large(node: Node) -> Workload:
    """Rows of 150 KB."""
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, 256, 3 * 224 * 224, np.uint8).tobytes() for _ in range(DISTINCT)]
    return Workload("150 KB", "pictures", compile_pictures(node), rows)


def small(node: Node) -> Workload:
    """Rows of 4 KB."""
    return Workload("4 KB", "resnet", compile_digits(node), digit_rows(DISTINCT))


WORKLOADS = {"150KB": large, "4KB": small}
