"""For tests of programs on several emulated nodes: nodes of any SoC and number of devices in one local Ray cluster.

    from ray.cluster_utils import Cluster
    from ascend_emulator.testing import add_node

    cluster = Cluster()
    add_node(cluster, soc="Ascend310P3", devices=2, num_cpus=1)
    add_node(cluster, soc="Ascend910B3", devices=4, num_cpus=1)

Ray asks `acl` for devices in the process that starts a node, and a node's workers have the environment that its
raylet was started with. So the emulator's variables stand in this process's environment while the node starts, and
nowhere afterwards. (This module imports no Ray; the cluster is the caller's.)
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ascend_emulator.om_bundle import write_bundle
from ascend_emulator.settings import read_settings


def add_node(
    cluster: Any,
    *,
    soc: str = "Ascend310P3",
    devices: int = 4,
    node: str | None = None,
    settings: Mapping[str, str] | None = None,
    **ray_node_args: Any,
) -> Any:
    """Add a Ray node with emulated Ascend devices to a cluster; Ray finds them by itself.

    Args:
        cluster: a `ray.cluster_utils.Cluster`; its first node becomes the head.
        soc: SoC of every device of the node.
        devices: number of devices.
        node: name of the emulated node, whose cards no other node shares; one of its own when None.
        settings: further `ASCEND_EMULATOR_*` variables of the node, such as its timing or its faults.
        **ray_node_args: what `Cluster.add_node` takes besides.

    Returns:
        What `Cluster.add_node` returns.

    Raises:
        Failure: 507033, a setting is wrong.
        RuntimeError: this process has opened a device and cannot see another node's any more.
    """
    import acl

    variables = {
        **(settings or {}),
        "ASCEND_EMULATOR_SOC": soc,
        "ASCEND_EMULATOR_DEVICES": str(devices),
        "ASCEND_EMULATOR_NODE": node or f"node-{uuid.uuid4().hex[:12]}",
    }
    with _environment(variables):
        read_settings()
        seen, _ = acl.rt.get_device_count()
        if seen != devices:
            raise RuntimeError(
                f"acl sees {seen} devices where the new node has {devices}: "
                "add nodes from a process that has opened no device"
            )
        return cluster.add_node(**ray_node_args)


def make_om_bundle(path: Path, models: Sequence[Path]) -> Path:
    """Write a bundle, as ATC makes of several graphs, for `acl.mdl.bundle_load_from_file`.

    Args:
        path: the file to write.
        models: the `.om` files to put into it, in the order of their numbers.

    Returns:
        `path`.

    Raises:
        OmError: there is no model.
    """
    path.write_bytes(write_bundle([model.read_bytes() for model in models]))
    return path


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    # Whatever else the caller's environment says of devices is not the new node's.
    foreign = [name for name in os.environ if name.startswith("ASCEND_EMULATOR_")]
    hidden = {
        name: os.environ.pop(name) for name in (*foreign, "ASCEND_RT_VISIBLE_DEVICES") if name in os.environ
    }
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ.update(hidden)
