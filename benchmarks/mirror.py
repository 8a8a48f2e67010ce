"""A model whose three stages take the same time: 150 KB in, 150 KB out, and links as slow as the computing."""

from __future__ import annotations

import json
from pathlib import Path

from ascend_serve.artifacts.store import Store
from ascend_serve.compiling.build import compile_target
from ascend_serve.spec.recipe import CompileRecipe
from benchmarks.node import COSTS_MS, SOC, Node

ROW_BYTES = 3 * 224 * 224


def compile_mirror(node: Node) -> Path:
    """`image` uint8 [n, 3, 224, 224] to `mirrored` of the same; the path of the `.om`."""
    import onnx
    from onnx import TensorProto, helper

    shape: list[str | int | None] = ["n", 3, 224, 224]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Neg", ["pixels"], ["negated"]),
            helper.make_node("Cast", ["negated"], ["mirrored"], to=TensorProto.UINT8),
        ],
        "mirror",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("mirrored", TensorProto.UINT8, shape)],
    )
    source = node.scratch / "mirror.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    recipe = CompileRecipe.parse(
        {
            "name": "mirror",
            "source": str(source),
            "input_format": "NCHW",
            "inputs": {"image": [-1, 3, 224, 224]},
            "gears": list(COSTS_MS),
        }
    )
    return compile_target(recipe, SOC, Store(node.store)).fetch()


def equal_stages(node: Node) -> Path:
    """A file of times by which a copy of the largest gear takes as long as its computing, each way."""
    gear = max(COSTS_MS)
    link = {"gb_per_s": gear * ROW_BYTES / (COSTS_MS[gear] * 1e6), "fixed_us": 0}
    times = node.scratch / "mirror.json"
    told = {
        "models": {"*": {str(gear): ms for gear, ms in COSTS_MS.items()}},
        "h2d": link,
        "d2h": link,
    }
    times.write_text(json.dumps(told))
    return times
