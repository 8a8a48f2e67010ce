"""Asks the Ray that runs, in a process of its own: `python -m ascend_serve.cli._ray_facts` prints JSON.

It starts none: `address="auto"` is the cluster that RAY_ADDRESS names, or one that was started on this machine, and Ray
raises ConnectionError where there is neither (`ray.init`). Whether HAProxy stands in front is told by the class of
Serve's proxy actors (ray/serve/_private/controller.py, `ServeController.__init__`).
"""

from __future__ import annotations

import json
import logging
from typing import Any

_PROXY = "SERVE_PROXY_ACTOR"
_FAST = "HAProxyManager"


def ask() -> dict[str, Any] | None:
    """What `facts.Cluster` holds, as JSON can hold it; None if no Ray runs."""
    import ray
    from ray import serve
    from ray.exceptions import RayError

    try:
        ray.init(
            address="auto",
            namespace="serve",
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            configure_logging=False,
        )
    except ConnectionError as error:
        return None if _is_nobody(error) else {"trouble": str(error)}
    except (RayError, RuntimeError, ValueError) as error:
        return {"trouble": f"Ray does not let us in: {str(error).splitlines()[0]}"}
    try:
        here = ray.get_runtime_context().get_node_id()
        nodes = [
            {
                "address": node["NodeManagerAddress"],
                "here": node["NodeID"] == here,
                "npus": node["Resources"].get("NPU", 0.0),
                "soc_label": node["Labels"].get("ray.io/accelerator-type", ""),
            }
            for node in ray.nodes()  # type: ignore[no-untyped-call]  # Ray gives it no types
            if node["Alive"]
        ]
        serving = bool(serve.status().proxies)
        return {
            "nodes": nodes,
            "fast_path": _fast_path() if serving else None,
            "tls": serving and _speaks_tls(),
        }
    finally:
        ray.shutdown()


def _is_nobody(error: ConnectionError) -> bool:
    return "any running Ray instance" in str(error)


def _fast_path() -> bool | None:
    import ray

    # With HAProxy there is a Python proxy too, for applications without replicas; its name begins like the others'.
    kinds = set()
    for actor in ray.util.list_named_actors(all_namespaces=True):
        if actor["name"].startswith(_PROXY):
            handle = ray.get_actor(actor["name"], namespace=actor["namespace"])
            kinds.add(handle._ray_actor_creation_function_descriptor.class_name)
    return _FAST in kinds if kinds else None


def _speaks_tls() -> bool:
    from ray.serve.context import _get_global_client

    client = _get_global_client()
    return client is not None and bool(client.http_config.ssl_certfile)


if __name__ == "__main__":
    print(json.dumps(ask()))
