"""Autoscaling live: a short step of load through Serve on emulated cards, with `capacity` and with Ray's own policy.

Requests of one row come at random over a Ray handle, each side the same ones. Device times are modelled and long, so
that a hundred requests a second are too much for one replica and the host is no limit. Replicas are counted from
`serve.status()`; one that starts or stops holds its NPU as well.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ascend_serve.artifacts.store import Store
from ascend_serve.compiling.build import compile_target
from ascend_serve.compiling.recipes import load_recipe
from benchmarks import results
from benchmarks.arrivals import poisson
from benchmarks.figures import table
from benchmarks.node import ROOT, Node, private_node
from benchmarks.servers import free_ports

SOC = "Ascend310P3"
MS = {1: 40.0, 4: 64.0, 8: 96.0, 16: 160.0}
CARDS = 2
SLO_MS = 500.0
STEPS = ((15.0, 30.0), (45.0, 130.0), (45.0, 30.0))
"""Seconds, and rows a second."""

SIDES: Mapping[str, Mapping[str, Any]] = {
    "capacity": {"policy": "capacity", "slo_ms": SLO_MS, "max_replicas": CARDS},
    "serve, target 8": {
        "max_replicas": CARDS,
        "target_ongoing_requests": 8,
        "upscale_delay_s": 0,
        "downscale_delay_s": 30,
        "metrics_interval_s": 1,
        "look_back_period_s": 5,
    },
}
"""The other is what the grid of `benchmarks.scaling` finds good for a step, with a target that suits these gears."""

_SAMPLE_S = 0.25
_READY_S = 300.0


class Side(NamedTuple):
    """What was seen of one side.

    Attributes:
        name: of it.
        rows: that came.
        late: answered after the SLO, or not at all.
        npu_s: NPU-seconds.
        replicas: how many there were, sampled every quarter of a second.
    """

    name: str
    rows: int
    late: int
    npu_s: float
    replicas: list[int]


def compare_live(seed: int = 1) -> None:
    """Run both sides one after the other, and print and write what came of it."""
    dues, begin = [], 0.0
    for number, (seconds, rate) in enumerate(STEPS):
        dues += [begin + due for due in poisson(rate, seconds, seed + number)]
        begin += seconds
    with private_node() as node, _serve(node) as artifact:
        sides = [_measured(name, options, artifact, dues, begin) for name, options in SIDES.items()]
    head = ("live step", "rows", "late %", "NPU-hours", "most replicas")
    rows = [
        (
            side.name,
            str(side.rows),
            f"{100 * side.late / side.rows:.2f}",
            f"{side.npu_s / 3600:.4f}",
            str(max(side.replicas)),
        )
        for side in sides
    ]
    print(table(head, rows), flush=True)
    results.write(
        "scaling-live",
        {"times_ms": MS, "slo_ms": SLO_MS, "steps": STEPS, "sides": [one._asdict() for one in sides]},
    )


@contextmanager
def _serve(node: Node) -> Iterator[str]:
    """A local Serve with `CARDS` emulated cards; gives the compiled model."""
    os.environ["RAY_TMPDIR"] = str(node.scratch)
    times = node.scratch / "times.json"
    times.write_text(json.dumps({"models": {"resnet": {str(gear): ms for gear, ms in MS.items()}}}))
    settings = {"DEVICES": str(CARDS), "TIMING": "modelled", "VALUES": "cheap", "TIMES": str(times)}
    os.environ.update({f"ASCEND_EMULATOR_{key}": value for key, value in settings.items()})
    recipe = load_recipe(ROOT / "compile_jobs/recipes/resnet.yaml")
    artifact = str(compile_target(recipe, SOC, Store(node.store)).fetch())
    import ray
    from ray import serve

    ray.init(
        address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": free_ports(1)[0]})
        yield artifact
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]  # Ray leaves these without types
        ray.shutdown()


def _measured(
    name: str, options: Mapping[str, Any], artifact: str, dues: list[float], seconds: float
) -> Side:
    from ray import serve

    handle = _deployed(options, artifact)
    replicas: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SAMPLE_S):
            states = serve.status().applications["live"].deployments["AscendModel"].replica_states
            replicas.append(sum(states.values()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        begun = time.monotonic()
        late = asyncio.run(_send(handle, dues))
        time.sleep(max(0.0, begun + seconds - time.monotonic()))
    finally:
        over.set()
        watcher.join()
    serve.delete("live")
    return Side(name, len(dues), late, sum(replicas) / len(replicas) * seconds, replicas)


def _deployed(options: Mapping[str, Any], artifact: str) -> Any:
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    application = {
        "name": "live",
        "import_path": "ascend_serve.serving.app:build",
        "args": {"om": artifact, "name": "resnet", "autoscaling": dict(options)},
    }
    client: Any = _get_global_client()
    client.deploy_apps(ServeDeploySchema.model_validate({"applications": [application]}))
    deadline = time.monotonic() + _READY_S
    while (found := serve.status().applications.get("live")) is None or found.status != "RUNNING":
        if time.monotonic() > deadline or (found is not None and found.status == "DEPLOY_FAILED"):
            raise RuntimeError(f"the application does not run: {found}")
        time.sleep(0.2)
    return serve.get_app_handle("live")


async def _send(handle: Any, dues: list[float]) -> int:
    """Send rows as they are due; how many were answered late, or not at all."""
    row = np.zeros((1, 1, 32, 32), np.float32)
    late = 0

    async def call(due: float) -> None:
        nonlocal late
        try:
            await handle.infer.remote(row)
        except Exception:  # noqa: BLE001  # whatever it is, the row is counted as one that was not answered
            late += 1
        else:
            late += (time.monotonic() - due) * 1e3 > SLO_MS

    begin = time.monotonic() + 0.2
    calls = []
    for due in dues:
        await asyncio.sleep(max(0.0, begin + due - time.monotonic()))
        calls.append(asyncio.create_task(call(begin + due)))
    await asyncio.gather(*calls)
    return late
