"""The ways to serve the shipped digits model that are compared, and how each is asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from ascend_serve.artifacts.store import Artifact
from benchmarks.http_load import request
from benchmarks.node import ROOT, Node, digit_rows
from benchmarks.servers import Plan, free_ports

_BIN = Path(sys.executable).parent
_DISTINCT = 32


@dataclass(frozen=True, slots=True)
class Way:
    """One way to serve the model.

    Attributes:
        letter: its name in tables.
        told: what it is, in a line.
        plan: how it is started.
        path: what a request is posted to.
        headers: that a request carries.
        bodies: one for each of a few held-out pictures.
    """

    letter: str
    told: str
    plan: Plan
    path: str
    headers: Mapping[str, str]
    bodies: list[bytes]

    def requests(self) -> list[str]:
        """Whole HTTP requests in hexadecimal."""
        return [request(self.path, body, self.headers).hex() for body in self.bodies]


def glue(artifact: Artifact) -> Way:
    """One process that calls pyACL by hand."""
    (port,) = free_ports(1)
    spec = artifact.spec
    command = (
        sys.executable,
        *("-m", "benchmarks.baselines.glue", str(artifact.fetch()), str(port)),
        *(str(spec.input_row_bytes), str(spec.output_row_bytes)),
    )
    plan = Plan("glue", command, port, {})
    return Way(
        "a", "glue: one process, http.server, pyACL by hand, batch 1", plan, "/", {}, digit_rows(_DISTINCT)
    )


def serve_batch(node: Node, artifact: Artifact) -> Way:
    """Plain Ray Serve with `@serve.batch`."""
    (port,) = free_ports(1)
    spec = artifact.spec
    args = {
        "path": str(artifact.fetch()),
        "row_bytes": spec.input_row_bytes,
        "output_row_bytes": spec.output_row_bytes,
    }
    application: dict[str, object] = {
        "name": "batched",
        "route_prefix": "/",
        "import_path": "benchmarks.baselines.serve_batch:build",
        "args": args,
    }
    file = _serve_file(node, "batched", port, [application])
    plan = Plan("batched", (str(_BIN / "serve"), "run", str(file)), port, {})
    told = "plain Ray Serve: @serve.batch around a synchronous call, padded to 16"
    return Way("b", told, plan, "/", {}, digit_rows(_DISTINCT))


def ours(node: Node) -> Way:
    """`ascend-serve run`."""
    port, *others = free_ports(5)
    names = (
        "RAY_SERVE_HAPROXY_STATS_PORT",
        "RAY_SERVE_HAPROXY_METRICS_PORT",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
    )
    environment = {name: str(other) for name, other in zip(names, others, strict=True)}
    command = (str(_BIN / "ascend-serve"), "run", "deployments/resnet.yaml", "--port", str(port))
    return _oip("c", "ascend-serve run (HAProxy)", Plan("ours", command, port, environment))


def ours_stock(node: Node) -> Way:
    """The same application under stock `serve run`."""
    (port,) = free_ports(1)
    shipped = yaml.safe_load((ROOT / "deployments/resnet.yaml").read_text())
    file = _serve_file(node, "stock", port, shipped["applications"])
    return _oip(
        "d",
        "ascend_serve under stock serve run",
        Plan("stock", (str(_BIN / "serve"), "run", str(file)), port, {}),
    )


def _serve_file(node: Node, name: str, port: int, applications: list[dict[str, object]]) -> Path:
    file = node.scratch / f"{name}.yaml"
    http_options = {"host": "127.0.0.1", "port": port}
    file.write_text(
        yaml.safe_dump(
            {"proxy_location": "EveryNode", "http_options": http_options, "applications": applications}
        )
    )
    return file


def _oip(letter: str, told: str, plan: Plan) -> Way:
    """Open Inference Protocol v2 in its binary extension."""
    rows = digit_rows(_DISTINCT)
    tensor = {
        "name": "image",
        "shape": [1, 1, 32, 32],
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(rows[0])},
    }
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {
        "Inference-Header-Content-Length": str(len(header)),
        "Content-Type": "application/octet-stream",
    }
    return Way(letter, told, plan, "/v2/models/resnet/infer", headers, [header + row for row in rows])
