"""A private emulated node for one run: its cards, its times, its compiled models, and nothing left afterwards."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ascend_serve.artifacts.store import Artifact, Store
from ascend_serve.compiling.build import compile_target
from ascend_serve.compiling.recipes import load_recipe
from ascend_serve.spec.recipe import CompileRecipe
from benchmarks.cards import COPY_FIXED_US, COPY_GB_PER_S

ROOT = Path(__file__).resolve().parents[1]
SOC = "Ascend310P3"
COSTS_MS = {1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0}
"""Device milliseconds of each gear, of the order of a ResNet-50 on an Ascend310P3; capacity 2,000 rows/s."""

_PRIVATE = ("RAY_", "ASCEND_RT_", "ASCEND_SERVE_", "ASCEND_EMULATOR_")


@dataclass(frozen=True, slots=True)
class Node:
    """Where a run lives.

    Attributes:
        scratch: folder of the run, removed at its end.
        store: artefacts of the run.
    """

    scratch: Path
    store: Path


@contextmanager
def private_node() -> Iterator[Node]:
    """Make this process, and all that it starts, see cards of this run's own in modelled time.

    The process environment is changed for good: pyACL and Ray read it once, when they are first used.
    """
    with tempfile.TemporaryDirectory(prefix="asb-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        times = scratch / "times.json"
        table = {str(gear): ms for gear, ms in COSTS_MS.items()}
        link = {"gb_per_s": COPY_GB_PER_S, "fixed_us": COPY_FIXED_US}
        told = {"models": {"resnet": table, "pictures": table}, "h2d": link, "d2h": link}
        times.write_text(json.dumps(told))
        for name in [name for name in os.environ if name.startswith(_PRIVATE)]:
            del os.environ[name]
        os.environ.update(
            XDG_RUNTIME_DIR=folder,
            ASCEND_EMULATOR_NODE="bench",
            ASCEND_EMULATOR_DEVICES="1",
            ASCEND_EMULATOR_SOC=SOC,
            ASCEND_EMULATOR_TIMING="modelled",
            ASCEND_EMULATOR_VALUES="cheap",
            ASCEND_EMULATOR_TIMES=str(times),
            ASCEND_SERVE_STORE=str(scratch / "store"),
        )
        yield Node(scratch, scratch / "store")


def compile_pictures(node: Node, side: int = 224) -> Artifact:
    """A small network, 150 KB a row by default: `image` uint8 [n, 3, side, side] to `scores` float32 [n, 3]."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("GlobalAveragePool", ["pixels"], ["means"]),
            helper.make_node("Flatten", ["means"], ["scores"]),
        ],
        "pictures",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 3, side, side])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
    )
    source = node.scratch / f"pictures{side}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    recipe = CompileRecipe.parse(
        {
            "name": "pictures",
            "source": str(source),
            "input_format": "NCHW",
            "inputs": {"image": [-1, 3, side, side]},
            "gears": list(COSTS_MS),
        }
    )
    return compile_target(recipe, SOC, Store(node.store))


def compile_digits(node: Node) -> Artifact:
    """The shipped model, as `deployments/resnet.yaml` serves it."""
    return compile_target(load_recipe(ROOT / "compile_jobs/recipes/resnet.yaml"), SOC, Store(node.store))


def yardstick_ns() -> float:
    """How fast this machine's memory is now: nanoseconds for a look-up in a dict that no cache holds, best of a few.

    The cores of a virtual machine share caches and memory with whoever else is on the host. The CPU time of a server,
    which touches a little of everything, goes with this from hour to hour; that of a tight loop does not.
    """
    made = [object() for _ in range(400_000)]
    values = dict.fromkeys(made, 1)
    keys = [made[place] for place in np.random.default_rng(1).permutation(len(made))]

    def once() -> float:
        begin, total = time.perf_counter(), 0
        for key in keys:
            total += values[key]
        return (time.perf_counter() - begin) / len(keys) * 1e9

    return min(once() for _ in range(3))


def machine() -> str:
    """One line about where the figures come from."""
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "numpy", "ascend-emulator"))
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), load {load}, Python {platform.python_version()} "
        f"({sys.implementation.name}), {versions}, a far look-up in {yardstick_ns():.0f} ns"
    )


@dataclass(frozen=True, slots=True)
class Cores:
    """What all cores did since boot, in CPU seconds (/proc/stat).

    Attributes:
        total: all of it.
        idle: nothing to do, or waiting for a disk.
        stolen: had work, while the hypervisor ran somebody else.
    """

    total: float
    idle: float
    stolen: float

    @classmethod
    def now(cls) -> Cores:
        """A reading."""
        first = Path("/proc/stat").read_text().split("\n", 1)[0]
        # user nice system idle iowait irq softirq steal; the two guest times after them are in user and nice.
        seconds = [int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in first.split()[1:9]]
        return cls(sum(seconds), seconds[3] + seconds[4], seconds[7])

    def busy_since(self, before: Cores) -> float:
        """Share of the time since then in which the cores were not idle, whoever they worked for."""
        return 1 - (self.idle - before.idle) / (self.total - before.total)

    def stolen_since(self, before: Cores) -> float:
        """Share of the time since then that was stolen."""
        return (self.stolen - before.stolen) / (self.total - before.total)


def digit_rows(count: int) -> list[bytes]:
    """Held-out pictures as the shipped model takes them: float32 [1, 32, 32] in 0..1, as raw bytes."""
    with np.load(ROOT / "examples/digits/heldout.npz") as heldout:
        return [(image.astype("<f4") / 255).tobytes() for image in heldout["images"][:count]]
