"""What the Ray cluster has: SoCs, and room for a build. Ray must be running."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray

from ascend_serve.errors import ConfigError
from ascend_serve.spec.soc import SOCS
from compile_jobs.jobs import Job

ACCELERATOR_LABEL = "ray.io/accelerator-type"
"""Ray sets it to what `acl.get_soc_name()` answers on the node."""


def cluster_socs() -> list[str]:
    """SoCs that the labels of the living nodes name, sorted; names this version does not know are left out."""
    labels = {node.get("Labels", {}).get(ACCELERATOR_LABEL) for node in living_nodes()}
    return sorted(label for label in labels if label in SOCS)


def living_nodes() -> list[dict[str, Any]]:
    """Ray's account of each node that is alive."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's own is untyped
    return [node for node in nodes if node["Alive"]]


def demands(job: Job) -> dict[str, Any]:
    """What a job's task asks Ray for, as `.options()` takes it.

    Never an NPU, since ATC needs none, unless the recipe tunes or verifies: that is done on a card of the target.
    """
    recipe = job.recipe
    resources = dict(recipe.resources)
    labels = dict(recipe.node_labels)
    if recipe.needs_card:
        resources["NPU"] = 1
        labels[ACCELERATOR_LABEL] = job.soc
    return {
        "num_cpus": recipe.num_cpus,
        "memory": job.memory_bytes or None,
        "resources": resources,
        "label_selector": labels,
    }


def check_room(job: Job) -> None:
    """See that some node could ever run a job; Ray would let it wait forever.

    Nothing is refused where Ray's autoscaler may add nodes: of what kinds, their labels do not tell beforehand.

    Raises:
        ConfigError: no living node has what it asks for, all together.
    """
    nodes = living_nodes()
    wanted = demands(job)
    labels = wanted["label_selector"]
    amounts = {"CPU": wanted["num_cpus"], "memory": wanted["memory"] or 0, **wanted["resources"]}
    if any(_fits(node, amounts, labels) for node in nodes) or _may_grow():
        return
    asks = ", ".join([_said(name, amount) for name, amount in amounts.items()] + _shown(labels))
    has = "; ".join(_node(node, amounts, labels) for node in nodes)
    raise ConfigError(
        f"{job.label}: one build asks for {asks}, which no node of the cluster has ({has}); change num_cpus, "
        "memory_bytes, resources or node_labels in the recipe"
        + (", or take out tune and verify, which need a card" if job.recipe.needs_card else "")
    )


def label_fits(label: str | None, wanted: str) -> bool:
    """Whether a node's label is what a selector wants, as Ray reads it: `a`, `!a`, `in(a, b)` or `!in(a, b)`."""
    negated = wanted.startswith("!")
    plain = wanted.removeprefix("!")
    if plain.startswith("in(") and plain.endswith(")"):
        values = [value.strip() for value in plain[3:-1].split(",")]
    else:
        values = [plain]
    return (label in values) != negated


def _fits(node: dict[str, Any], amounts: Mapping[str, float], labels: Mapping[str, str]) -> bool:
    has = node.get("Labels", {})
    return all(node["Resources"].get(name, 0) >= amount for name, amount in amounts.items()) and all(
        label_fits(has.get(name), wanted) for name, wanted in labels.items()
    )


def _may_grow() -> bool:
    """Whether an autoscaler told the cluster of node groups that it could add to."""
    config = ray._private.state.state.get_cluster_config()  # Ray has no public way to ask
    return config is not None and any(
        group.max_count < 0 or group.max_count > group.min_count for group in config.node_group_configs
    )


def _node(node: dict[str, Any], amounts: Mapping[str, float], labels: Mapping[str, str]) -> str:
    has = {name: node.get("Labels", {}).get(name, "(none)") for name in labels}
    return ", ".join([_said(name, node["Resources"].get(name, 0)) for name in amounts] + _shown(has))


def _shown(labels: Mapping[str, str]) -> list[str]:
    return [f"label {name}={value}" for name, value in labels.items()]


def _said(name: str, amount: float) -> str:
    return f"{amount / 2**30:.1f} GiB of memory" if name == "memory" else f"{amount:g} {name}"
