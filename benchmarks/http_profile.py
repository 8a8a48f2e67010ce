"""What a request costs, process by process and layer by layer: `python -m benchmarks.http_profile`.

The same application is started on each way in that Ray Serve's fast data path has, HAProxy and direct ingress, on an
emulated card in modelled time, and asked over keep-alive connections in a closed loop. Printed are the CPU
microseconds per answer of each process (/proc/<pid>/stat; the card, which stands for hardware, is left out). `--calls`
adds the replica's threads and, sampled by py-spy, what its event loop spends them on. `--settings` takes one setting
back at a time and prints what it is worth. CPU time per request is moved by what else runs on the machine far less than
answers per second are; a cold cache and a busy neighbour on the same core still cost some 20 %. `--door grpc` asks the
same replica over gRPC at its own port, with raw contents.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil  # type: ignore[import-untyped]  # it ships no types
import yaml

from ascend_serve.artifacts.store import Artifact
from ascend_serve.protocol._pb.messages import message_class
from benchmarks.figures import Spread, table
from benchmarks.http_load import HTTP_CLIENT, Load, Seen, request, send
from benchmarks.node import COSTS_MS, Node, compile_digits, compile_pictures, machine, private_node
from benchmarks.servers import GRPC_SERVICER, Plan, Server, Used, free_ports, own_grpc_ports, running, spent

CONNECTIONS = 64
LIMIT_PER_S = max(gear / ms for gear, ms in COSTS_MS.items()) * 1e3
_REPLICA = "ray::ServeRepli"
_LOOP = "AsyncIO"
_WHOLE = (
    ("_report_cached_metrics", "Serve's metrics"),
    ("_record_errors_and_metrics", "Serve's metrics"),
    ("serving/watching/recorder", "our metrics"),
)
"""What counts with all that it calls: a part of a frame, and the layer."""
_LAYERS = (
    ("ascend_serve/engine", "engine and lane"),
    ("ascend_serve/batching", "engine and lane"),
    ("ascend_serve/runtime", "engine and lane"),
    ("ascend_serve/serving/doors/grpc", "our gRPC door"),
    ("ascend_serve/protocol/grpc", "our gRPC door"),
    ("ascend_serve/protocol/_pb", "our gRPC door"),
    ("ascend_serve/", "our HTTP door"),
    ("RequestIdMiddleware", "Serve's request ids"),
    ("ray/", "Serve's replica"),
    ("uvicorn", "uvicorn"),
    ("grpc/", "gRPC"),
)
_GRPC_PORT = "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT"
_HAPROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "1"}
_DIRECT = {"RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_SERVE_ENABLE_DIRECT_INGRESS": "1"}


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to start the application.

    Attributes:
        name: short, for tables and folders.
        told: what is different from the first of its table.
        direct: whether the client talks to the replica itself, not to HAProxy.
        grpc: whether it does so over gRPC.
        environment: in addition to what `ascend-serve run` sets where nothing is set.
        args: of the application.
        options: of the deployment.
        headers: that a request carries beside those of the protocol.
    """

    name: str
    told: str
    direct: bool = False
    grpc: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    args: Mapping[str, object] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


HAPROXY = Variant("haproxy", "HAProxy")
DIRECT = Variant("direct", "direct ingress", direct=True)
GRPC = Variant("grpc", "direct ingress, gRPC", direct=True, grpc=True)
OFF: tuple[tuple[str, str, Mapping[str, Mapping[str, object]]], ...] = (
    ("no-throughput", "without throughput mode", {"environment": {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}}),
    ("accounting", "accounting: serve", {"args": {"accounting": "serve"}}),
    (
        "tracking",
        "the same, and Serve watches for clients that leave",
        {"environment": {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": ""}},
    ),
    (
        "access-log",
        "with Serve's access log",
        {"options": {"logging_config": {"enable_access_log": True, "log_level": "INFO"}}},
    ),
    (
        "log-level",
        "without the access log, at level INFO",
        {"options": {"logging_config": {"enable_access_log": False, "log_level": "INFO"}}},
    ),
    (
        "control-loop",
        "Serve's controller looks ten times a second",
        {"environment": {"RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.1"}},
    ),
    ("nice", "workers at Ray's niceness of 15", {"environment": {"RAY_worker_niceness": "15"}}),
    ("asyncio", "asyncio's loop for uvloop", {"environment": {"RAY_USE_UVLOOP": "0"}}),
    ("few-ongoing", "max_ongoing_requests of 5", {"options": {"max_ongoing_requests": 5}}),
    ("front", "front: batch", {"args": {"front": "batch"}}),
    (
        "haproxy-metrics",
        "Serve counts from HAProxy's log",
        {"environment": {"RAY_SERVE_HAPROXY_METRICS_ENABLED": "1"}},
    ),
    ("haproxy-threads", "HAProxy with four threads", {"environment": {"RAY_SERVE_HAPROXY_NBTHREAD": "4"}}),
    (
        "haproxy-buffers",
        "HAProxy with buffers of 256 KiB",
        {"environment": {"RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "262144"}},
    ),
)
"""What `--settings` takes back, one at a time: name, words, and the fields of the variant."""


@dataclass(frozen=True, slots=True)
class Model:
    """What is served, and one request to it, over HTTP and as gRPC's `call`."""

    artifact: Artifact
    path: str
    body: bytes
    headers: Mapping[str, str]
    call: bytes


@dataclass(slots=True)
class Cost:
    """What was measured of one variant, a value for each round.

    Attributes:
        answers_per_s: as the client saw them.
        us: CPU microseconds per answer, by the process's name.
    """

    answers_per_s: list[float] = field(default_factory=list)
    us: dict[str, list[float]] = field(default_factory=dict)

    @property
    def total_us(self) -> list[float]:
        """Of all processes."""
        return [sum(values) for values in zip(*self.us.values(), strict=True)]


def pictures(node: Node) -> Model:
    """150 KB a request: one picture of 3 x 224 x 224 bytes."""
    return _model(compile_pictures(node), "image", [1, 3, 224, 224], "UINT8", bytes(3 * 224 * 224))


def digits(node: Node) -> Model:
    """4 KB a request: one digit of 32 x 32 floats."""
    return _model(compile_digits(node), "image", [1, 1, 32, 32], "FP32", bytes(4 * 32 * 32))


def _model(artifact: Artifact, name: str, shape: Sequence[int], datatype: str, row: bytes) -> Model:
    tensor = {
        "name": name,
        "shape": shape,
        "datatype": datatype,
        "parameters": {"binary_data_size": len(row)},
    }
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {
        "Inference-Header-Content-Length": str(len(header)),
        "Content-Type": "application/octet-stream",
    }
    asked = {"name": name, "datatype": datatype, "shape": shape}
    call = message_class("ModelInferRequest")(
        model_name=artifact.spec.name, inputs=[asked], raw_input_contents=[row]
    )
    path = f"/v2/models/{artifact.spec.name}/infer"
    return Model(artifact, path, header + row, headers, call.SerializeToString())


def plan(variant: Variant, model: Model, folder: Path) -> Plan:
    """How to start a variant."""
    port, grpc_port, replica, stats, metrics, fallback, fallback_grpc = free_ports(7)
    file = folder / f"{variant.name}.yaml"
    deployment = {"name": "AscendModel", "num_replicas": 1, **variant.options}
    application = {
        "name": "profiled",
        "route_prefix": "/",
        "import_path": "ascend_serve.serving.app:build",
        "args": {
            "om": str(model.artifact.fetch()),
            "name": model.artifact.spec.name,
            **variant.args,
        },
        "deployments": [deployment],
    }
    told: dict[str, object] = {"proxy_location": "EveryNode", "applications": [application]}
    if variant.grpc:
        told["grpc_options"] = {"port": grpc_port, "grpc_servicer_functions": [GRPC_SERVICER]}
    file.write_text(yaml.safe_dump(told))
    environment = {
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback_grpc),
        # One replica, so that its port is known.
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(replica),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(replica + 1),
        **own_grpc_ports(),
        **(_DIRECT if variant.direct else _HAPROXY),
        **variant.environment,
    }
    command = (
        str(Path(sys.executable).parent / "ascend-serve"),
        "run",
        str(file),
        "--port",
        str(port),
    )
    return Plan(variant.name, command, replica if variant.direct else port, environment)


def measure(server: Server, model: Model, variant: Variant, seconds: float, cost: Cost) -> None:
    """One round of load, added to `cost`."""
    before: dict[int, Used] = {}
    seen = ask(server, model, variant, seconds, lambda: before.update(server.cpu()))
    answers = len(seen.latencies_ms)
    cost.answers_per_s.append(answers / seen.elapsed_s)
    used: dict[str, float] = {}
    for process in spent(before, server.cpu()):
        role = _role(process.name)
        used[role] = used.get(role, 0.0) + process.cpu_s
    for role in ("replica", "haproxy", "others"):
        cost.us.setdefault(role, []).append(used.get(role, 0.0) / answers * 1e6)


def ask(server: Server, model: Model, variant: Variant, seconds: float, on_start: Callable[[], None]) -> Seen:
    """A closed loop over all connections."""
    if variant.grpc:
        port, whole, client = int(server.plan.environment[_GRPC_PORT]), model.call, "benchmarks.grpc_client"
    else:
        whole = request(model.path, model.body, {**model.headers, **variant.headers})
        port, client = server.plan.port, HTTP_CLIENT
    load = Load(port, [whole.hex()], model.artifact.spec.output_row_bytes, CONNECTIONS, seconds)
    return send(load, on_start=on_start, client=client)


def _role(name: str) -> str:
    if name.startswith(_REPLICA):
        return "replica"
    return "haproxy" if name.startswith("haproxy") else "others"


def calls(server: Server, model: Model, variant: Variant, seconds: float) -> list[tuple[str, float]]:
    """What the replica's CPU goes to under load, in microseconds per answer.

    Returns:
        The threads that use any, then the layers of the busiest one, which is the event loop, each with its costliest
        functions.

    Raises:
        RuntimeError: py-spy failed; it needs the right to read another process.
    """
    (replica,) = (process for process in server.processes() if process.name().startswith(_REPLICA))
    with tempfile.NamedTemporaryFile(suffix=".txt") as out:
        sampler = (
            str(Path(sys.executable).parent / "py-spy"),
            *("record", "--pid", str(replica.pid), "--format", "raw", "--output", out.name),
            *("--duration", str(round(seconds)), "--rate", "250", "--threads", "--nonblocking", "--gil"),
        )
        started: list[subprocess.Popen[bytes]] = []
        before: dict[int, float] = {}

        def on_start() -> None:
            before.update(_threads(replica))
            started.append(subprocess.Popen(sampler, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

        answers = len(ask(server, model, variant, seconds + 1, on_start).latencies_ms)
        after = _threads(replica)
        if started[0].wait(seconds + 30):
            raise RuntimeError(
                f"py-spy ended with {started[0].returncode}: it must be allowed to trace processes"
            )
        stacks = [line.rpartition(" ") for line in Path(out.name).read_text().splitlines()]
    threads = {number: (cpu_s - before.get(number, 0.0)) / answers * 1e6 for number, cpu_s in after.items()}
    found = [
        (f"thread {number} ({_thread_name(replica.pid, number)})", us)
        for number, us in sorted(threads.items(), key=lambda item: -item[1])
        if us >= 1
    ]
    samples = [(stack.split(";"), int(count)) for stack, _, count in stacks]
    loop = [(frames, count) for frames, count in samples if _LOOP in frames[0]]
    return found + layers(loop, max(threads.values()))


def layers(samples: Sequence[tuple[Sequence[str], int]], total_us: float) -> list[tuple[str, float]]:
    """Share `total_us` among the layers that were sampled, and among the costliest functions of each.

    A frame of a library counts for the layer that called it. Pure.

    Args:
        samples: stacks, outermost frame first, and how often each was seen.
        total_us: what all of them are together.
    """
    by_layer: Counter[str] = Counter()
    by_call: dict[str, Counter[str]] = {}
    for frames, count in samples:
        layer = _layer(frames)
        by_layer[layer] += count
        by_call.setdefault(layer, Counter())[frames[-1]] += count
    unit = total_us / max(1, by_layer.total())
    told = []
    for layer, count in by_layer.most_common():
        told.append((layer, count * unit))
        told += [(f"    {call}", seen * unit) for call, seen in by_call[layer].most_common(4)]
    return told


def _layer(frames: Sequence[str]) -> str:
    for mark, layer in _WHOLE:
        if any(mark in frame for frame in frames):
            return layer
    for frame in reversed(frames):
        for mark, layer in _LAYERS:
            if mark in frame:
                return layer
    return "the loop itself"


def _threads(process: psutil.Process) -> dict[int, float]:
    """CPU seconds of each thread of a process."""
    return {thread.id: thread.user_time + thread.system_time for thread in process.threads()}


def _thread_name(pid: int, thread: int) -> str:
    try:
        return Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()
    except FileNotFoundError:
        return "ended"  # one of a pool that has nothing to do by now


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http_profile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one round")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of each variant")
    parser.add_argument("--body", choices=("150", "4", "both"), default="both", help="KB of a request")
    parser.add_argument("--way", choices=("haproxy", "direct", "both"), default="both")
    parser.add_argument(
        "--door", choices=("http", "grpc"), default="http", help="grpc: at the replica's own port"
    )
    parser.add_argument("--calls", action="store_true", help="also what the replica's Python does (py-spy)")
    parser.add_argument("--settings", action="store_true", help="take one setting back at a time")
    options = parser.parse_args(arguments)
    if options.door == "grpc" and options.way == "haproxy":
        parser.error("--door grpc is measured at the replica's own port: leave out --way haproxy")
    ways = [way for way in (HAPROXY, DIRECT) if options.way in (way.name, "both")]
    if options.door == "grpc":
        ways = [GRPC]
    with private_node() as node:
        print(f"# {machine()}")
        print(f"# {CONNECTIONS} connections, closed loop; device limit {LIMIT_PER_S:.0f} rows/s")
        for kb, make in (("150", pictures), ("4", digits)):
            if options.body in (kb, "both"):
                model = make(node)
                for way in ways:
                    _table(way, model, kb, node, options)


def _table(way: Variant, model: Model, kb: str, node: Node, options: argparse.Namespace) -> None:
    variants = [way]
    if options.settings:
        variants += [
            replace(way, name=f"{way.name}-{name}", told=told, **_merged(way, changes))
            for name, told, changes in OFF
            if not (way.direct and name.startswith("haproxy"))
        ]
    print(f"\n## {way.told}, {kb} KB a request: CPU microseconds per answer\n")
    rows = []
    for variant in variants:
        cost = Cost()
        with running([plan(variant, model, node.scratch)], node) as (server,):
            server.wait_until_ready(model.path, model.body, {**model.headers, **variant.headers})
            for _ in range(options.repeats):
                measure(server, model, variant, options.seconds, cost)
            found = calls(server, model, variant, max(4.0, options.seconds)) if options.calls else []
        rows.append(
            (
                variant.told,
                Spread.of(cost.answers_per_s).show(0),
                f"{median(cost.answers_per_s) / LIMIT_PER_S:.2f}",
                *(f"{median(values):.0f}" for values in cost.us.values()),
                Spread.of(cost.total_us).show(0),
            )
        )
        print(f"  {variant.told}: {median(cost.total_us):.0f} us", file=sys.stderr, flush=True)
        for what, us in found:
            print(f"  {us:7.1f} us  {what}")
    print(table(("", "answers/s", "of limit", "replica", "haproxy", "others", "all"), rows), flush=True)


def _merged(way: Variant, changes: Mapping[str, Mapping[str, object]]) -> dict[str, Any]:
    return {name: {**getattr(way, name), **values} for name, values in changes.items()}


if __name__ == "__main__":
    main()
