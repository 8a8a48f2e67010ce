"""Compile targets as Ray tasks.

Here is decided where a build runs and how many run at a time; how one runs is up to `compiling.build`. A task
asks Ray for CPUs and memory, never for an NPU: compiling needs no card. It yields twice, when it starts and
when it ends, which is how the caller tells a build that waits for a free CPU from one that runs.

Callers may themselves be Ray tasks: while they wait here, Ray lends their CPUs to others, so nesting cannot
deadlock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray
from ray.exceptions import RayError, RayTaskError

from ascend_serve.artifacts.store import Artifact, Store
from ascend_serve.compiling.build import prepare, run_build, stored
from ascend_serve.compiling.recipes import anchored, load_recipe
from ascend_serve.errors import AscendServeError, ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import SOCS, resolve_soc

_ACCELERATOR_LABEL = "ray.io/accelerator-type"
_LOST_NODE_RETRIES = 3
_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class TargetResult:
    """What became of one target.

    Attributes:
        name: the recipe's name.
        soc: the target.
        outcome: `built` now, `cached` in the store already, or `failed`.
        seconds: how long it took, from the start of its task.
        artifact: the artifact, unless it failed.
        cause: why it failed, in one line.
    """

    name: str
    soc: str
    outcome: Literal["built", "cached", "failed"]
    seconds: float
    artifact: Artifact | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class TargetStarted:
    """A target's task runs now; it waited for CPUs until then."""

    soc: str


Progress = Callable[["TargetStarted | TargetResult"], None]


def compile_targets(
    recipe: CompileRecipe | Path,
    socs: Sequence[str],
    store_root: Path,
    *,
    atc: str | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> list[TargetResult]:
    """Compile a recipe for several SoCs, in parallel as far as the cluster's CPUs go.

    Ray must be running. When the caller is interrupted, the tasks are cancelled and no `atc` is left behind.

    Args:
        recipe: what to compile, or the path of its file.
        socs: the targets; duplicates count once.
        store_root: folder of the store, seen by every node that compiles.
        atc: the program to compile with; None lets each node look for its own.
        retry_failed: build again what failed before.
        progress: called in this thread, when a target's task starts and when it ends.

    Returns:
        One result per target, in the order of `socs`. A failed build is a result, not an exception.

    Raises:
        ConfigError: a wrong recipe, an unknown SoC, no SoC at all, or no node large enough for one build.
    """
    if isinstance(recipe, Path):
        recipe = load_recipe(recipe)
    recipe = anchored(recipe, Path.cwd())
    targets = list(dict.fromkeys(resolve_soc(soc).name for soc in socs))
    if not targets:
        raise ConfigError(f"recipe '{recipe.name}': no SoC to compile for; name at least one")
    _check_room(recipe)
    tasks = {
        _compile.options(
            name=f"compile {recipe.name}@{soc}",
            num_cpus=recipe.num_cpus,
            memory=recipe.memory_bytes or None,
            # Covers workers and nodes that die. A build's own failure is a value, so it is never tried again.
            max_retries=_LOST_NODE_RETRIES,
            num_returns="streaming",
        ).remote(recipe, soc, str(Path(store_root).expanduser().absolute()), atc, retry_failed): soc
        for soc in targets
    }
    results = _collect(recipe, tasks, progress or (lambda _: None))
    return [results[soc] for soc in targets]


def cluster_socs() -> list[str]:
    """SoCs that the labels of the cluster's living nodes name, sorted.

    Names this version does not know are left out. Ray, which must be running, sets the label to what
    `acl.get_soc_name()` answers on the node.
    """
    labels = {node.get("Labels", {}).get(_ACCELERATOR_LABEL) for node in _living_nodes()}
    return sorted(label for label in labels if label in SOCS)


@ray.remote
def _compile(
    recipe: CompileRecipe, soc: str, store_root: str, atc: str | None, retry_failed: bool
) -> Iterator[TargetStarted | TargetResult]:
    """One build: yields its start, then its result."""
    yield TargetStarted(soc)
    began = time.monotonic()
    store = Store(Path(store_root))
    try:
        build = prepare(recipe, soc, atc=atc)
        artifact = stored(build, store)
        outcome: Literal["built", "cached"] = "built" if artifact is None else "cached"
        artifact = artifact or run_build(build, store, retry_failed=retry_failed)
    except (AscendServeError, OSError) as error:
        yield TargetResult(recipe.name, soc, "failed", time.monotonic() - began, cause=str(error))
    else:
        yield TargetResult(recipe.name, soc, outcome, time.monotonic() - began, artifact)


def _collect(recipe: CompileRecipe, tasks: dict[Any, str], progress: Progress) -> dict[str, TargetResult]:
    """Results by SoC; whatever ends this early, an interrupt above all, cancels the tasks that still run."""
    results: dict[str, TargetResult] = {}
    running = dict(tasks)
    try:
        while running:
            for task in ray.wait(list(running), num_returns=1)[0]:
                soc = running[task]
                event = _next(recipe, soc, task)
                if isinstance(event, TargetResult):
                    results[soc] = event
                    del running[task]
                progress(event)
    except BaseException:
        _stop(list(running))
        raise
    return results


def _next(recipe: CompileRecipe, soc: str, task: Any) -> TargetStarted | TargetResult:
    """The next thing a task yielded; a task that Ray lost is a failed target."""
    try:
        event: TargetStarted | TargetResult = ray.get(next(task))
        return event
    except RayTaskError:
        raise  # A fault in this package, with its own traceback.
    except (RayError, StopIteration) as error:
        cause = " ".join(str(error).split()) or "its task ended without a result"
        return TargetResult(recipe.name, soc, "failed", 0.0, cause=cause)


def _stop(tasks: list[Any]) -> None:
    """Cancel tasks and give them time to kill their `atc`; a task that does not end is killed."""
    for task in tasks:
        ray.cancel(task)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    for task in tasks:
        finished = task.completed()
        if not ray.wait([finished], timeout=max(0.0, deadline - time.monotonic()))[0]:
            ray.cancel(task, force=True)


def _check_room(recipe: CompileRecipe) -> None:
    """See that some node could ever run one build; Ray would let it wait forever.

    Raises:
        ConfigError: no living node has the CPUs and the memory together.
    """
    rooms = [
        (node["Resources"].get("CPU", 0), node["Resources"].get("memory", 0)) for node in _living_nodes()
    ]
    if any(cpus >= recipe.num_cpus and memory >= recipe.memory_bytes for cpus, memory in rooms):
        return
    have = ", ".join(f"{cpus:g} CPUs and {memory / 2**30:.1f} GiB" for cpus, memory in rooms)
    raise ConfigError(
        f"recipe '{recipe.name}': one build asks for {recipe.num_cpus:g} CPUs and "
        f"{recipe.memory_bytes / 2**30:.1f} GiB, which no node of the cluster has ({have}); lower "
        "num_cpus or memory_bytes in the recipe"
    )


def _living_nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's own is untyped
    return [node for node in nodes if node["Alive"]]
