"""A program for tests: one model on two emulated nodes, one four times as fast, and who answers; tells as JSON.

In the end the fast node is removed under load, and every request is counted by how it ended.

It is one of its own because the suite's Ray is connected to another cluster in the suite's process.
"""

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np

from ascend_serve import env
from benchmarks.counted_load import (
    GIVE_UP_S,
    RIGHT,
    Ask,
    Ends,
    counted_load,
    is_same,
    over_a_handle,
    over_grpc,
    over_http,
)
from benchmarks.table import INPUT, MODEL, one_request, table_recipe
from tests.serve.tools import eventually, free_port

# Serve reads these when it is imported.
SCRATCH = Path(os.environ["RAY_TMPDIR"])
env.switch_on_fast_path(SCRATCH, lambda _: free_port())

import ray  # noqa: E402
from ascend_emulator.control import cards  # noqa: E402
from ascend_emulator.testing import add_node  # noqa: E402
from ray import serve  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402
from ray.serve.context import _get_global_client  # noqa: E402
from ray.serve.schema import ServeDeploySchema  # noqa: E402

FAST_MS = {1: 20.0, 4: 26.0, 8: 34.0, 16: 50.0}
NODES = {"slow": ("Ascend310P3", 4), "fast": ("Ascend910B3", 1)}
"""The first is the head."""

ALONE, TOGETHER = 12, 160
DEADLINE_S = 20.0
CLIENTS, INTERVAL_S = 4, 0.4
"""Of each way while a node is removed: no more than the slow one can do alone."""

SERVICER = "ascend_serve.serving.doors.grpc.add_GRPCInferenceServiceServicer_to_server"


class Fleet:
    """Two nodes with a card each, and a replica on each."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self._cluster = cluster
        self._nodes: dict[str, Any] = {}
        recipe, _ = table_recipe(folder, FAST_MS)
        for node, (soc, factor) in NODES.items():
            times = folder / f"{node}.json"
            table = {gear: factor * ms for gear, ms in FAST_MS.items()}
            times.write_text(json.dumps({"models": {MODEL: table}}))
            told = {"ASCEND_EMULATOR_TIMING": "modelled", "ASCEND_EMULATOR_TIMES": str(times)}
            self._nodes[node] = add_node(
                cluster,
                soc=soc,
                devices=1,
                node=node,
                num_cpus=2,
                settings=told,
                include_dashboard=False,
                dashboard_port=free_port(),
            )
        ray.init(address=cluster.address, namespace="serve", log_to_driver=False, logging_level=logging.ERROR)
        self.url = f"http://127.0.0.1:{free_port()}"
        http = {"host": "127.0.0.1", "port": int(self.url.rpartition(":")[2])}
        self.grpc_address = f"127.0.0.1:{free_port()}"
        told_grpc = {
            "port": int(self.grpc_address.rpartition(":")[2]),
            "grpc_servicer_functions": [SERVICER],
        }
        serve.start(proxy_location="HeadOnly", http_options=http, grpc_options=told_grpc)
        application = {
            "name": "mixed",
            "route_prefix": "/",
            "import_path": "ascend_serve.serving.app:build",
            "args": {
                "recipe": str(recipe),
                "store": str(folder / "store"),
                "router": "finish_first",
            },
            "deployments": [{"name": "AscendModel", "num_replicas": 2, "max_replicas_per_node": 1}],
        }
        wanted = {"proxy_location": "HeadOnly", "applications": [application]}
        client: Any = _get_global_client()
        client.deploy_apps(ServeDeploySchema.model_validate(wanted))
        eventually("it runs", self._running, 150)
        client.wait_for_proxies_serving(wait_for_applications_running=True)
        self.admin = SCRATCH / ray.get_runtime_context().get_node_id() / "admin.sock"
        self.handle = serve.get_app_handle("mixed")

    async def over_handle(self) -> Any:
        """One request after the other, then many at once."""
        ask = over_a_handle(self.handle)
        return {"alone": await self._alone(ask), "together": await self._together(ask)}

    async def over_http(self) -> Any:
        """One request after the other, through HAProxy."""
        async with httpx.AsyncClient(base_url=self.url, timeout=2 * GIVE_UP_S) as client:
            return {"alone": await self._alone(over_http(client, f"/v2/models/{MODEL}/infer", INPUT))}

    async def removed(self) -> Any:
        """How requests end while the node where most of them are is removed; the other bears the load then."""
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=2 * GIVE_UP_S) as client,
            grpc.aio.insecure_channel(self.grpc_address, [("grpc.enable_http_proxy", 0)]) as channel,
        ):
            said: list[str] = []
            ways = {
                "http": over_http(client, f"/v2/models/{MODEL}/infer", INPUT, said),
                "grpc": over_grpc(channel, MODEL, INPUT, said),
                "handle": over_a_handle(self.handle),
            }
            async with counted_load(
                ways, CLIENTS, one_request, deadline_s=DEADLINE_S, interval_s=INTERVAL_S
            ) as ends:
                await _answered(ends)
                await asyncio.to_thread(self._cluster.remove_node, self._nodes["fast"], allow_graceful=False)
                await asyncio.to_thread(eventually, "one replica is left", self._one_is_left)
                await _answered(ends)
        told: dict[str, Any] = {way: {"kinds": one.kinds, "faults": one.faults} for way, one in ends.items()}
        return {**told, "said": said}

    async def weights(self) -> Any:
        """Weights of HAProxy's servers for the replicas, once they are set."""

        def found() -> list[int]:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(str(self.admin))
                peer.sendall(b"show servers state\n")
                lines = peer.makefile().read().splitlines()
            servers = [line.split() for line in lines if "-AscendModel-" in line]
            return sorted(int(server[7]) for server in servers if server[1] == "http-mixed")

        def weighed() -> list[int]:
            # A server comes with the weight 1, and the two come one after the other.
            return weights if len(weights := found()) == 2 and 1 not in weights else []

        return await asyncio.to_thread(eventually, "HAProxy has weights", weighed)

    async def known(self) -> Any:
        """The deployments of the application, once all of them are healthy: a busy host may miss a health check."""

        def healthy() -> list[str]:
            deployments = serve.status().applications["mixed"].deployments
            states = {one.status.value for one in deployments.values()}
            return list(deployments) if states == {"HEALTHY"} else []

        return await asyncio.to_thread(eventually, "all deployments are healthy", healthy)

    async def _alone(self, ask: Ask) -> Any:
        before, random = self._ran(), np.random.default_rng(1)
        return self._batches(before, [await _is_right(ask, random) for _ in range(ALONE)])

    async def _together(self, ask: Ask) -> Any:
        before, random = self._ran(), np.random.default_rng(2)
        return self._batches(before, await asyncio.gather(*(_is_right(ask, random) for _ in range(TOGETHER))))

    def _batches(self, before: dict[str, int], right: Iterable[bool]) -> Any:
        """Answers that are right, and batches that each node's card ran for them."""
        batches = {node: ran - before[node] for node, ran in self._ran().items()}
        told = list(right)
        return {"asked": len(told), "right": sum(told), "batches": batches}

    def _ran(self) -> dict[str, int]:
        return {node: sum(card.engines["compute"].tasks for card in cards(node)) for node in NODES}

    def _one_is_left(self) -> bool:
        states = serve.status().applications["mixed"].deployments["AscendModel"].replica_states
        return {str(state): count for state, count in states.items() if count} == {
            "RUNNING": 1,
            "STARTING": 1,
        }

    def _running(self) -> bool:
        application = serve.status().applications.get("mixed")
        assert application is None or application.status != "DEPLOY_FAILED", application.message
        return application is not None and application.status == "RUNNING"


async def _is_right(ask: Ask, random: np.random.Generator) -> bool:
    rows, expected = one_request(random)
    kind, outputs = await ask(rows, DEADLINE_S)
    return kind == RIGHT and outputs is not None and is_same(outputs, expected)


async def _answered(ends: dict[str, Ends], more: int = 20) -> None:
    """Wait until so many more requests have ended well over each way."""
    wanted = {way: one.kinds[RIGHT] + more for way, one in ends.items()}

    def all_answered() -> bool:
        return all(ends[way].kinds[RIGHT] >= wanted[way] for way in wanted)

    await asyncio.to_thread(eventually, "requests are answered", all_answered)


async def scenes(fleet: Fleet) -> dict[str, Any]:
    told = (fleet.known, fleet.weights, fleet.over_handle, fleet.over_http, fleet.removed)
    return {scene.__name__: await scene() for scene in told}


def main() -> None:
    folder = Path(sys.argv[1])
    cluster = Cluster()
    try:
        fleet = Fleet(folder, cluster)
        told = asyncio.run(scenes(fleet))
        (folder / "told.json").write_text(json.dumps(told))  # Ray prints to stdout what befalls a node
        serve.shutdown()
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
