"""`python -m benchmarks routing`: who chooses the replica, on two nodes of which one is three times as fast.

One cluster, one model, a replica on each node; two applications, `even` with what Serve does by itself and `first` with
`router: finish_first`. Requests of one row come at random at a share of what both devices can do, the same for all
sides of a round, over Ray handles and over HTTP with HAProxy. Times are modelled and long, so the host is no limit.
A third side over HTTP is what HAProxy can do alone: `even` with weights by the speed of each replica.

What the router costs shows where the host is the limit: `--scale 0.03 --loads 0` is a closed loop over HTTP on devices
that are much faster.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types

from ascend_serve import env
from ascend_serve.artifacts.store import Store
from ascend_serve.compiling.build import compile_target
from ascend_serve.compiling.recipes import load_recipe
from ascend_serve.serving.fleet.weights import weigh, weights_of
from benchmarks import results
from benchmarks.arrivals import poisson
from benchmarks.figures import Spread, pairwise, percentile, table
from benchmarks.http_load import Load, request, send
from benchmarks.node import ROOT, Node, digit_rows, machine, private_node
from benchmarks.servers import free_ports

FAST_SOC, SLOW_SOC = "Ascend910B3", "Ascend310P3"
FAST_MS = {1: 40.0, 4: 64.0, 8: 96.0, 16: 160.0}
SLOW_MS = {gear: 3 * ms for gear, ms in FAST_MS.items()}
"""Device milliseconds of each gear on the two SoCs. The ratio is what counts; they are this long so that a hundred
requests a second are a high load."""

LIMIT_PER_S = sum(max(gear / ms for gear, ms in costs.items()) * 1e3 for costs in (FAST_MS, SLOW_MS))
TARGET = 0.7
"""What the p99 with our router is to be at most, as a share of that with Serve's."""

_CONNECTIONS = 64
_READY_S = 300.0


@dataclass(frozen=True, slots=True)
class Side:
    """One way of choosing.

    Attributes:
        name: for tables.
        way: `handle` or `http`.
        app: which application.
        weights: whether HAProxy is given the weights of replicas.
    """

    name: str
    way: str
    app: str
    weights: bool = False


SIDES = (
    Side("handle, Serve's", "handle", "even"),
    Side("handle, finish_first", "handle", "first"),
    Side("HTTP, least connections", "http", "even"),
    Side("HTTP, weights", "http", "even", weights=True),
    Side("HTTP, finish_first", "http", "first"),
)
RIVALS = {"handle": "handle, Serve's", "http": "HTTP, least connections"}


@dataclass(frozen=True, slots=True)
class Round:
    """What was seen of one side in one round.

    Attributes:
        p50_ms: of the latencies.
        p99_ms: of the latencies.
        answers_per_s: good ones.
        failed: requests that ended otherwise, or never found a connection.
        cpu_us: of each kind of process, for each answer.
    """

    p50_ms: float
    p99_ms: float
    answers_per_s: float
    failed: int
    cpu_us: Mapping[str, float]


@dataclass(slots=True)
class Fleet:
    """Two nodes with both applications; made by `fleet`."""

    port: int
    socket_path: Path
    limit_per_s: float
    handles: dict[str, Any] = field(default_factory=dict)

    def weigh(self, weighed: bool) -> None:
        """Give HAProxy's servers of `even` weights by the speed of the replica behind them, or all the same."""
        import ray
        from ray.serve.context import _get_global_client

        nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray leaves it without types
        socs = {node["NodeID"]: node["Labels"].get("ray.io/accelerator-type") for node in nodes}
        client: Any = _get_global_client()
        found = client.get_serve_details()["applications"]["even"]["deployments"]["AscendModel"]
        row_s = {}
        for replica in found["replicas"]:
            costs = FAST_MS if not weighed or socs[replica["node_id"]] == FAST_SOC else SLOW_MS
            row_s[f"-AscendModel-{replica['replica_id']}"] = costs[1]
        asyncio.run(weigh(self.socket_path, weights_of(row_s)))


@contextmanager
def fleet(node: Node, scale: float) -> Iterator[Fleet]:
    """Start the cluster and both applications, with device times multiplied by `scale`; at the end they are gone."""
    folder = node.scratch  # short, since HAProxy's socket lies in a folder of the node's id below it
    env.switch_on_fast_path(folder, lambda _: free_ports(1)[0])
    os.environ["RAY_TMPDIR"] = str(folder)
    os.environ["RAY_SERVE_WORKER_PROXY_HTTP_PORT"] = str(free_ports(1)[0])
    # What comes up slowly on a busy machine is no failure.
    os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "60"
    import ray
    from ascend_emulator.testing import add_node
    from ray import serve
    from ray.cluster_utils import Cluster

    artifacts = {}
    for soc in (FAST_SOC, SLOW_SOC):
        recipe = load_recipe(ROOT / "compile_jobs/recipes/resnet.yaml")
        artifacts[soc] = str(compile_target(recipe, soc, Store(node.store)).fetch())
    cluster = Cluster()
    for name, soc, costs in (("fast", FAST_SOC, FAST_MS), ("slow", SLOW_SOC, SLOW_MS)):
        times = folder / f"{name}.json"
        times.write_text(
            json.dumps({"models": {"resnet": {str(gear): scale * ms for gear, ms in costs.items()}}})
        )
        settings = {"TIMING": "modelled", "VALUES": "cheap", "TIMES": str(times)}
        add_node(
            cluster, soc=soc, devices=2, node=name, num_cpus=2,
            include_dashboard=False, dashboard_port=free_ports(1)[0],
            settings={f"ASCEND_EMULATOR_{key}": value for key, value in settings.items()},
        )  # fmt: skip
    ray.init(address=cluster.address, namespace="serve", log_to_driver=False, logging_level=logging.ERROR)
    try:
        port = free_ports(1)[0]
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        head = ray.get_runtime_context().get_node_id()
        sockets = Path(os.environ["RAY_SERVE_HAPROXY_SOCKET_PATH"])
        made = Fleet(port, sockets.parent / head / sockets.name, LIMIT_PER_S / scale)
        _deploy(artifacts)
        made.handles = {name: serve.get_app_handle(name) for name in ("even", "first")}
        yield made
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]  # Ray leaves these without types
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


def _deploy(artifacts: Mapping[str, str]) -> None:
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    applications = []
    for name, router in (("even", "serve"), ("first", "finish_first")):
        applications.append(
            {
                "name": name,
                "route_prefix": f"/{name}",
                "import_path": "ascend_serve.serving.app:build",
                "args": {"om": artifacts, "name": "resnet", "router": router},
                "deployments": [{"name": "AscendModel", "num_replicas": 2, "max_replicas_per_node": 1}],
            }
        )
    told = {"proxy_location": "HeadOnly", "applications": applications}
    client: Any = _get_global_client()
    client.deploy_apps(ServeDeploySchema.model_validate(told))
    deadline = time.monotonic() + _READY_S
    while True:
        found = serve.status().applications
        if [found[name].status for name in ("even", "first") if name in found] == ["RUNNING"] * 2:
            break
        if time.monotonic() > deadline or any(one.status == "DEPLOY_FAILED" for one in found.values()):
            raise RuntimeError(f"the applications do not run: {found}")
        time.sleep(0.2)
    client.wait_for_proxies_serving(wait_for_applications_running=True)


def measure(made: Fleet, side: Side, load: float, seconds: float, seed: int) -> Round:
    """One round of one side at a share `load` of what both devices can do, or in a closed loop if that is 0."""
    rate = load * made.limit_per_s
    before: dict[int, tuple[str, float]] = {}
    if side.way == "handle":
        before.update(_cpu())
        latencies, failed = asyncio.run(_by_handle(made.handles[side.app], poisson(rate, seconds, seed)))
    else:
        made.weigh(side.weights)
        latencies, failed = _over_http(
            made.port, side.app, rate, seconds, seed, lambda: before.update(_cpu())
        )
    used: dict[str, float] = {}
    for number, (name, cpu_s) in _cpu().items():
        used[name] = used.get(name, 0.0) + cpu_s - before.get(number, ("", 0.0))[1]
    cpu_us = {name: cpu_s / len(latencies) * 1e6 for name, cpu_s in used.items()}
    return Round(
        percentile(latencies, 0.5), percentile(latencies, 0.99), len(latencies) / seconds, failed, cpu_us
    )


async def _by_handle(handle: Any, dues: Sequence[float]) -> tuple[list[float], int]:
    row = np.zeros((1, 1, 32, 32), np.float32)
    latencies: list[float] = []
    failed = 0

    async def call(due: float) -> None:
        nonlocal failed
        try:
            await handle.infer.remote(row)
        except Exception:  # noqa: BLE001  # whatever it is, it is counted, and a count above 0 is told
            failed += 1
        else:
            latencies.append((time.monotonic() - due) * 1e3)

    begin = time.monotonic() + 0.2
    calls = []
    for due in dues:
        await asyncio.sleep(max(0.0, begin + due - time.monotonic()))
        calls.append(asyncio.create_task(call(begin + due)))
    await asyncio.gather(*calls)
    return latencies, failed


def _over_http(
    port: int, app: str, rate: float, seconds: float, seed: int, on_start: Callable[[], None]
) -> tuple[list[float], int]:
    row = digit_rows(1)[0]
    tensor = {"name": "image", "shape": [1, 1, 32, 32], "datatype": "FP32"}
    told = {"inputs": [{**tensor, "parameters": {"binary_data_size": len(row)}}]}
    header = json.dumps({**told, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    whole = request(f"/{app}/v2/models/resnet/infer", header + row, headers).hex()
    seen = send(Load(port, [whole], 40, _CONNECTIONS, seconds, rate_per_s=rate, seed=seed), on_start=on_start)
    return seen.latencies_ms, seen.refused + seen.unsent


def _cpu() -> dict[int, tuple[str, float]]:
    """Kind and CPU seconds of each process of the cluster that a request may pass, and of this one."""
    found = {}
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            name, times = process.cmdline()[0] if process.cmdline() else "", process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        kind = next((kind for mark, kind in _KINDS if mark in name), None)
        if process.pid == os.getpid():
            kind = "caller"
        if kind is not None:
            found[process.pid] = (kind, times.user + times.system)
    return found


_KINDS = (
    ("RouteDesk", "desk"),
    ("AscendModel", "replica"),
    ("haproxy", "haproxy"),
    ("ServeController", "controller"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables and write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks routing", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each side")
    parser.add_argument(
        "--loads",
        type=float,
        nargs="+",
        default=[0.7],
        help="shares of the devices' limit; 0: closed, HTTP only",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the devices' times")
    options = parser.parse_args(arguments)
    rounds: dict[float, dict[str, list[Round]]] = {}
    with private_node() as node:
        print(f"# {machine()}")
        print(f"# {FAST_SOC} {FAST_MS} ms and {SLOW_SOC} {SLOW_MS} ms, times {options.scale:g}")
        with fleet(node, options.scale) as made:
            for load in options.loads:
                sides = [side for side in SIDES if load or side.way == "http"]
                kept: dict[str, list[Round]] = {side.name: [] for side in sides}
                for number in range(options.rounds):
                    for side in sides:
                        kept[side.name].append(measure(made, side, load, options.seconds, seed=number))
                rounds[load] = kept
                show(load, kept)
    results.write("routing", {"rounds": {str(load): kept for load, kept in rounds.items()}})


def show(load: float, kept: Mapping[str, Sequence[Round]]) -> None:
    """Print what was seen at one load, and whether the target is met."""
    told = (
        f"{100 * load:.0f} % of what both devices can do" if load else f"{_CONNECTIONS} connections, closed"
    )
    print(f"\n## {told}\n")
    rows = []
    for side in [side for side in SIDES if side.name in kept]:
        mine, rival = kept[side.name], kept[RIVALS[side.way]]
        ratio = pairwise([one.p99_ms for one in mine], [one.p99_ms for one in rival])
        cpu = {kind: sum(one.cpu_us.get(kind, 0.0) for one in mine) / len(mine) for kind in mine[0].cpu_us}
        rows.append(
            (
                side.name,
                Spread.of([one.p50_ms for one in mine]).show(0),
                Spread.of([one.p99_ms for one in mine]).show(0),
                ratio.show(),
                Spread.of([one.answers_per_s for one in mine]).show(0),
                str(sum(one.failed for one in mine)),
                ", ".join(f"{kind} {us:.0f}" for kind, us in sorted(cpu.items())),
            )
        )
    print(table(("", "p50 ms", "p99 ms", "of Serve's", "answers/s", "failed", "CPU us an answer"), rows))
    for way, ours in (("handle", "handle, finish_first"), ("http", "HTTP, finish_first")) if load else ():
        ratio = pairwise([one.p99_ms for one in kept[ours]], [one.p99_ms for one in kept[RIVALS[way]]])
        verdict = "PASS" if ratio.median <= TARGET else "below Serve's" if ratio.median < 1 else "MISS"
        print(f"{way}: p99 {ratio.show()} of Serve's (target {TARGET}): {verdict}")


if __name__ == "__main__":
    main()
