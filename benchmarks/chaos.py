"""Replicas are killed at random under half of the load they could take: `python -m benchmarks chaos --minutes 2`.

Requests come over HTTP and gRPC through HAProxy and over Ray handles, each with a deadline, at half of the rate that
all replicas together could answer by the times of their gears. Every one that was sent is counted by how it ended, and
every answer is looked at; the command fails if one was wrong, came later than a second after its deadline, or ended in
a way that is none of these: a right answer, an error of ours, 502 to 504 or a reset from HAProxy, gRPC UNAVAILABLE,
`ActorDiedError` on a handle (`ActorUnavailableError` where handles go over gRPC). gRPC's DEADLINE_EXCEEDED and
RESOURCE_EXHAUSTED are errors of ours, since these clients set gRPC no deadline of their own.

A replica takes seconds of CPU to start, so the times of the gears are long and requests few: what is looked at is what
becomes of requests, and not how much a machine can do beside starting replicas.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types

from benchmarks.counted_load import (
    GIVE_UP_S,
    RIGHT,
    Ends,
    counted_load,
    is_allowed,
    over_a_handle,
    over_grpc,
    over_http,
)
from benchmarks.node import machine, private_node
from benchmarks.quiet import FOREIGN_CORES, Reading, adopt_orphans, foreign_cores
from benchmarks.servers import GRPC_SERVICER, free_ports, own_grpc_ports
from benchmarks.table import INPUT, MEAN_ROWS, MODEL, one_request, table_recipe

REPLICAS = 4
COSTS_MS = {1: 60.0, 4: 100.0, 8: 160.0}
LOAD = 0.5
"""Of what the replicas could answer while all of them run."""

CLIENTS = 36
"""Of each of the three ways: so many that hardly one has to wait for its answer before it asks again."""

_NICER = 5
"""By how much replicas are nicer than those who ask, who are to see the ends of requests when they come."""

BETWEEN_KILLS_S = (4.0, 10.0)
DEADLINE_S = 10.0
_READY_S = 180.0
_MOST_SAID = 8
_APPLICATION = "chaos"


def main(arguments: Sequence[str]) -> None:
    """Run it.

    Raises:
        SystemExit: 1 when a request ended as none may.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks chaos", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=2.0, help="how long replicas are killed (default: 2)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the kills (default: 1)")
    options = parser.parse_args(arguments)
    if options.minutes <= 0:
        parser.error(f"--minutes is {options.minutes}: it must be above 0")
    print(machine(), flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    adopt_orphans()
    with suppress(
        PermissionError
    ):  # replicas are as nice as everything else on the machine then, and not nicer
        os.setpriority(os.PRIO_PROCESS, 0, -_NICER)
    with private_node() as node:
        recipe, times = table_recipe(node.scratch, COSTS_MS)
        port, grpc_port = _set_up(node.scratch, times)
        holds = _serve_and_kill(recipe, port, grpc_port, options.minutes * 60, options.seed)
    if not holds:
        raise SystemExit(1)


def _set_up(scratch: Path, times: Path) -> tuple[int, int]:
    """The environment of everything, before Ray is imported; ports of HTTP and gRPC."""
    from ascend_serve import env

    ports = free_ports(6)
    (scratch / "token").write_text(os.urandom(16).hex())
    os.environ.update(
        RAY_TMPDIR=str(scratch),
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN_PATH=str(scratch / "token"),
        ASCEND_EMULATOR_NODE=_APPLICATION,
        ASCEND_EMULATOR_DEVICES=str(REPLICAS),
        ASCEND_EMULATOR_VALUES="exact",
        ASCEND_EMULATOR_TIMES=str(times),
        RAY_worker_niceness=str(_NICER),
        **own_grpc_ports(),
    )
    env.switch_on_fast_path(scratch, lambda _: ports.pop())
    return ports.pop(), ports.pop()


def _serve_and_kill(recipe: Path, port: int, grpc_port: int, seconds: float, seed: int) -> bool:
    import ray
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # it tells of each death at length
    application = {
        "name": _APPLICATION,
        "route_prefix": "/",
        "import_path": "ascend_serve.serving.app:build",
        "args": {"recipe": str(recipe), "replica_cpus": 0.1},
        "deployments": [{"name": "AscendModel", "num_replicas": REPLICAS}],
    }
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(
            http_options={"host": "127.0.0.1", "port": port},
            grpc_options={"port": grpc_port, "grpc_servicer_functions": [GRPC_SERVICER]},
        )
        client = _get_global_client()
        assert client is not None, "Serve was just started"
        client.deploy_apps(ServeDeploySchema.model_validate({"applications": [application]}))
        _wait_for(REPLICAS)
        handle = serve.get_app_handle(_APPLICATION)
        before = Reading.now(time.monotonic())
        ends, kills, elapsed_s = asyncio.run(
            _load(handle, port, grpc_port, seconds, np.random.default_rng(seed))
        )
        foreign = foreign_cores(before, Reading.now(time.monotonic()))
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]  # Ray's
        ray.shutdown()
    if foreign > FOREIGN_CORES:
        print(
            f"others took {foreign:.1f} cores of this machine meanwhile: what came late may be late for that"
        )
    return _verdict(ends, kills, elapsed_s)


async def _load(
    handle: Any, port: int, grpc_port: int, seconds: float, dice: np.random.Generator
) -> tuple[dict[str, Ends], int, float]:
    import grpc  # type: ignore[import-untyped]  # ships no types
    import httpx

    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=2 * GIVE_UP_S) as client,
        grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}", [("grpc.enable_http_proxy", 0)]) as channel,
    ):
        said: list[str] = []
        asks = {
            "http": over_http(client, f"/v2/models/{MODEL}/infer", INPUT, said),
            "grpc": over_grpc(channel, MODEL, INPUT, said),
            "handle": over_a_handle(handle),
        }
        for way, ask in asks.items():
            await _answers(way, ask)
        kills, begin = 0, time.monotonic()
        interval_s = len(asks) * CLIENTS * MEAN_ROWS / (LOAD * _most_rows_per_s())
        settings: dict[str, float] = {"deadline_s": DEADLINE_S, "interval_s": interval_s}
        async with counted_load(asks, CLIENTS, one_request, **settings) as ends:
            while time.monotonic() < begin + seconds:
                await asyncio.sleep(dice.uniform(*BETWEEN_KILLS_S))
                if victims := await asyncio.to_thread(_replicas):
                    _kill(victims[int(dice.integers(len(victims)))])
                    kills += 1
            await asyncio.to_thread(_wait_for, REPLICAS)
        for words, count in Counter(said).most_common(_MOST_SAID):
            print(f"{count} times: {words[:300]!r}")
        return ends, kills, time.monotonic() - begin


async def _answers(way: str, ask: Any) -> None:
    """Wait until a way is open."""
    deadline = time.monotonic() + _READY_S
    kind = ""
    while time.monotonic() < deadline:
        kind, _ = await ask(one_request(np.random.default_rng(0))[0], DEADLINE_S)
        if kind == RIGHT:
            return
        await asyncio.sleep(0.25)
    raise RuntimeError(f"{way} does not answer within {_READY_S:g} s; last: {kind}")


def _wait_for(count: int) -> None:
    """Wait until so many replicas run.

    Raises:
        RuntimeError: they do not.
    """
    from ray import serve

    deadline = time.monotonic() + _READY_S
    told: Any = None
    while time.monotonic() < deadline:
        deployments = serve.status().applications[_APPLICATION].deployments
        if deployments:
            told = deployments["AscendModel"]
            if told.replica_states == {"RUNNING": count}:
                return
        time.sleep(0.25)
    raise RuntimeError(f"{count} replicas do not run within {_READY_S:g} s: {told}")


def _replicas() -> list[int]:
    """Processes of the replicas, which are this process's children."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith(
                f"ray::ServeReplica:{_APPLICATION}:"
            ):
                found.append(process.pid)
        except (psutil.NoSuchProcess, IndexError):
            continue
    return sorted(found)


def _kill(number: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(number, signal.SIGKILL)


def _most_rows_per_s() -> float:
    """Rows that all replicas together could answer."""
    return REPLICAS * max(gear / ms for gear, ms in COSTS_MS.items()) * 1e3


def _verdict(ends: dict[str, Ends], kills: int, elapsed_s: float) -> bool:
    """Print the counts; whether every request ended as it may."""
    asked = sum(one.kinds.total() for one in ends.values())
    share = asked * MEAN_ROWS / elapsed_s / _most_rows_per_s()
    print(
        f"{kills} replicas killed in {elapsed_s:.0f} s, {asked} requests, "
        f"{100 * share:.0f} % of the load that {REPLICAS} replicas could answer"
    )
    holds = True
    for way, one in ends.items():
        print(f"{way:8} " + ", ".join(f"{count} {kind}" for kind, count in one.kinds.most_common()))
        strange = [kind for kind in one.kinds if not is_allowed(kind)]
        for fault in dict.fromkeys([*one.faults, *strange]):
            holds = False
            print(f"{way:8} MUST NOT BE: {fault}")
        if not one.kinds[RIGHT]:
            holds = False
            print(f"{way:8} MUST NOT BE: no right answer at all")
    print("PASS" if holds else "MISS", flush=True)
    return holds


if __name__ == "__main__":
    main(sys.argv[1:])
