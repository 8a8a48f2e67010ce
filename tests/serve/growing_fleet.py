"""A program for tests: `policy: capacity` asks for more than fits, and Ray's autoscaler adds a node; tells as JSON.

Nodes are those of Ray's fake provider (ray/autoscaler/_private/fake_multi_node), each with one emulated NPU, and the
autoscaler is the first version, since the second needs a file that is not in Ray's wheel. It runs beside a head that
`ray start` started, so this is a program of its own; it leaves that cluster to its caller to end.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import ray
import yaml
from ray import serve
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from tests.serve.deploying import RECIPE
from tests.serve.tools import ROOT, eventually, free_port, slow_device

NAME, HEAD = "grown", FAKE_HEAD_NODE_ID
SOC = "Ascend310P3"
ROWS, CLIENTS = 16, 4
GEARS_MS = {"1": 40.0, "4": 60.0, "8": 75.0, "16": 100.0}
"""So that 160 rows/s are cleared at the most, and fewer than that are borne within `slo_ms`."""

COMMANDS = (
    "cluster_synced_files",
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
"""Keys that the autoscaler looks up, whatever the provider."""


def node_kinds(gcs: str) -> dict[str, Any]:
    """What `ray start --autoscaling-config` reads: one kind of node beside the head."""
    return {
        "cluster_name": "fake",
        "max_workers": 1,
        "idle_timeout_minutes": 0.03,
        "provider": {
            "type": "fake_multinode",
            "head_node_id": HEAD,
            "gcs_address": gcs,
            "launch_multiple": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            # The provider names nodes by their ids; without it the autoscaler never learns which of them are idle.
            "use_node_id_as_ip": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 2, "NPU": 1}, "node_config": {}, "max_workers": 0},
            "npu": {
                "resources": {"CPU": 1, "NPU": 1},
                "labels": {"ray.io/accelerator-type": SOC},
                "node_config": {},
                "max_workers": 1,
            },
        },
        **{key: {} for key in ("auth", "head_node", "worker_nodes", "docker", "file_mounts")},
        **{key: [] for key in COMMANDS},
    }


def start_head(folder: Path) -> str:
    """Start a head with one NPU and an autoscaler that may add a node; its address."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    kinds = folder / "kinds.yaml"
    kinds.write_text(yaml.safe_dump(node_kinds(address)))
    told = {
        "RAY_enable_autoscaler_v2": "0",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
        "AUTOSCALER_METRIC_PORT": str(free_port()),
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "ASCEND_EMULATOR_SOC": SOC,
        "ASCEND_EMULATOR_DEVICES": "1",
    }
    options = {
        "port": port,
        "node-ip-address": "127.0.0.1",
        "num-cpus": 2,
        "include-dashboard": "false",
        "autoscaling-config": kinds,
        "min-worker-port": 0,
        "max-worker-port": 0,
    }
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head"]
    command += [f"--{option}={value}" for option, value in options.items()]
    subprocess.run(command, env={**os.environ, **told}, check=True, stdout=subprocess.DEVNULL)
    return address


def deploy(folder: Path, store: str) -> Any:
    """The shipped model with `grow_cluster`; its handle."""
    application = {
        "name": NAME,
        "import_path": "ascend_serve.serving.app:build",
        "args": {
            "recipe": str(RECIPE),
            "store": store,
            "autoscaling": {"policy": "capacity", "slo_ms": 150, "max_replicas": 2, "grow_cluster": True},
        },
        "deployments": [
            {"name": "AscendModel", "ray_actor_options": slow_device(folder, GEARS_MS)},
        ],
    }
    serve.start(proxy_location="Disabled")
    _get_global_client().deploy_apps(ServeDeploySchema.model_validate({"applications": [application]}))
    eventually("one replica", lambda: seen()["replicas"] == 1)
    return serve.get_app_handle(NAME)


def seen() -> dict[str, Any]:
    """Replicas that run, and the nodes there are."""
    told = serve.status().applications[NAME]
    states = told.deployments["AscendModel"].replica_states if told.deployments else {}
    return {"replicas": int(states.get("RUNNING", 0)), "nodes": nodes()}


def nodes() -> list[tuple[str, float, str]]:
    """Of each node its kind, NPUs and SoC."""
    return sorted(
        (
            "head" if node["NodeID"] == HEAD else "added",
            node["Resources"]["NPU"],
            node["Labels"]["ray.io/accelerator-type"],
        )
        for node in ray.nodes()
        if node["Alive"]
    )


class Load:
    """Clients that ask again as soon as they are answered, until it is left; a context manager."""

    def __init__(self, handle: Any) -> None:
        with np.load(ROOT / "examples/digits/heldout.npz") as heldout:
            self._rows = (heldout["images"][:ROWS, None] / 255).astype(np.float32)
        self._handle = handle
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        self.first = handle.infer.remote(self._rows).result(timeout_s=60)
        self.answers, self.others = 0, 0

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._enough.is_set():
            answer = self._handle.infer.remote(self._rows).result(timeout_s=60)
            self.answers += 1
            self.others += not np.allclose(answer, self.first, atol=1e-2)


def main(folder: Path, store: str) -> None:
    ray.init(address=start_head(folder), log_to_driver=False, logging_level="ERROR", namespace="serve")
    handle = deploy(folder, store)
    told: dict[str, Any] = {"alone": seen()}
    with Load(handle) as load:
        eventually("two replicas under load", lambda: seen()["replicas"] == 2)
        told["grown"] = seen()
    told["answers"], told["others"] = load.answers, load.others
    # Nothing needs the node any more. How few replicas a falling load leaves, the policy's own tests say.
    serve.delete(NAME)
    eventually("the added node is gone", lambda: len(nodes()) == 1)
    told["left"] = nodes()
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
