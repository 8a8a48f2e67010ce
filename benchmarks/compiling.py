"""How near parallel builds come to the ideal for the CPUs given, and what a run costs that finds all built.

The compiles take modelled time (`ASCEND_EMULATOR_COMPILE_TIME`), as real ones wait for compilers of their own; what is
measured is what comes on top: tasks, processes, reading back, publishing.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import onnx
import ray
from onnx import TensorProto, helper

from ascend_serve.compiling.recipes import load_recipe
from benchmarks.figures import Spread, table
from benchmarks.node import Node
from compile_jobs.tasks import compile_recipes

COUNTS = (1, 2, 4, 8, 16, 32)
CPUS = 4
FIXED_S = 10.0
PER_OPERATOR_MS = 250.0
SOCS = ("Ascend310P3", "Ascend910B3")


def compare(node: Node, *, repeats: int, seconds: float) -> None:
    """Build 1 to 32 targets with four CPUs and print wall time against the ideal; then run what is all built.

    Args:
        node: the private node of this run.
        repeats: runs of each count, and of the runs that build nothing.
        seconds: not used; a build takes the time that is modelled.
    """
    os.environ["ASCEND_EMULATOR_COMPILE_TIME"] = f"{FIXED_S:g},{PER_OPERATOR_MS:g}"
    print(
        f"\n# compiling: {CPUS} CPUs for Ray; a build takes {FIXED_S:g} s and {PER_OPERATOR_MS:g} ms an operator "
        f"({seconds:g} s a run does not apply)\n"
    )
    recipes = _recipes(node.scratch, max(COUNTS) // len(SOCS))
    walls: dict[int, list[float]] = {count: [] for count in COUNTS}
    # A local Ray of its own: the tasks are those of a cluster, and nothing else runs there.
    ray.init(num_cpus=CPUS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        for repeat in range(repeats):
            for count in COUNTS:
                walls[count].append(_build(node, recipes, count, repeat))
    finally:
        ray.shutdown()
    rows = []
    for count in COUNTS:
        ideal = ideal_s([_expected_s(number) for number in range(count)], CPUS)
        wall = Spread.of(walls[count])
        rows.append(
            (str(count), f"{ideal:.1f}", wall.show(1), Spread.of([w / ideal for w in walls[count]]).show(2))
        )
    print(table(("builds", "ideal s", "wall s", "wall / ideal"), rows))
    _print_second_run(node, recipes, repeats)


def ideal_s(durations: Sequence[float], cpus: int) -> float:
    """The shortest time in which any schedule could run builds of these durations on that many CPUs."""
    return max(max(durations), sum(durations) / cpus)


def _build(node: Node, recipes: list[Path], count: int, repeat: int) -> float:
    store = node.scratch / f"store-{repeat}-{count}"
    used = [load_recipe(recipe) for recipe in recipes[: -(-count // len(SOCS))]]
    socs = SOCS if count > 1 else SOCS[:1]
    began = time.monotonic()
    results = compile_recipes(used, socs, store)
    wall = time.monotonic() - began
    if len(results) != count or any(result.outcome != "built" for result in results):
        raise RuntimeError(f"{count} builds ended as {[(r.outcome, r.cause) for r in results]}")
    return wall


def _print_second_run(node: Node, recipes: list[Path], repeats: int) -> None:
    store = node.scratch / f"store-0-{max(COUNTS)}"
    again = [sys.executable, "-m", "compile_jobs", *map(str, recipes), "--soc", "auto", "--store", str(store)]
    bare = [
        sys.executable,
        "-c",
        "import ray; ray.init(address='local', include_dashboard=False, log_to_driver=False); ray.shutdown()",
    ]
    took: dict[str, list[float]] = {"again": [], "bare": []}
    for _ in range(repeats):
        for name, command in (("again", again), ("bare", bare)):
            began = time.monotonic()
            subprocess.run(command, check=True, capture_output=True)
            took[name].append(time.monotonic() - began)
    more = Spread.of([mine - ray_s for mine, ray_s in zip(took["again"], took["bare"], strict=True)])
    print(
        f"\n{len(recipes)} recipes, all built: `python -m compile_jobs … --soc auto` takes "
        f"{Spread.of(took['again']).show(1)} s, of which Ray's own start and end are "
        f"{Spread.of(took['bare']).show(1)} s: {more.show(2)} s more"
    )


def _expected_s(number: int) -> float:
    return FIXED_S + PER_OPERATOR_MS / 1000 * _operators(number // len(SOCS))


def _operators(recipe: int) -> int:
    """Operators of a recipe's network, so that builds differ in length: 2 to 16."""
    return 2 + 2 * (recipe % 8)


def _recipes(folder: Path, count: int) -> list[Path]:
    """Recipes of networks of several lengths; all of them for all SoCs."""
    paths = []
    for number in range(count):
        names = [f"h{step}" for step in range(_operators(number))]
        nodes = [
            helper.make_node("Relu" if step % 2 else "Neg", [["x", *names][step]], [name])
            for step, name in enumerate(names)
        ]
        graph = helper.make_graph(
            nodes,
            "chain",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
            [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, ["n", 8])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, folder / f"chain{number}.onnx")
        path = folder / f"chain{number}.yaml"
        path.write_text(
            f"name: chain{number}\nsource: chain{number}.onnx\ninputs: {{x: [-1, 8]}}\ngears: [1, 4]\n"
            f"targets: [{', '.join(SOCS)}]\n"
        )
        paths.append(path)
    return paths
