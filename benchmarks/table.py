"""A small model whose answers anybody can check: a table of vectors, ids INT32 [n, 4] to the sum of their rows.

An id past the end of the table makes the device fail, as a token that a text model does not know does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from benchmarks.counted_load import Array

MODEL, INPUT = "table", "ids"
ROWS, WIDTH, IDS = 50, 6, 4
MOST_ROWS = 3
"""Of one request."""

MEAN_ROWS = (1 + MOST_ROWS) / 2

_TABLE = np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype(np.float32)


def table_recipe(folder: Path, ms: Mapping[int, float]) -> tuple[Path, Path]:
    """Write the model; the paths of its recipe, and of the times that an emulated card is to take for it.

    Args:
        folder: for all of it.
        ms: device milliseconds by gear.
    """
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", INPUT], ["vectors"]),
            helper.make_node("ReduceSum", ["vectors", "axis"], ["sum"], keepdims=0),
        ],
        MODEL,
        [helper.make_tensor_value_info(INPUT, TensorProto.INT32, ["n", IDS])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["n", WIDTH])],
        [numpy_helper.from_array(_TABLE, "table"), numpy_helper.from_array(np.array([1]), "axis")],
    )
    source = folder / "table.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    told = {
        "name": MODEL,
        "source": str(source),
        "inputs": {INPUT: [-1, IDS]},
        "gears": list(ms),
        "precision": "fp32",
    }
    recipe, times = folder / "table.yaml", folder / "table.json"
    recipe.write_text(yaml.safe_dump(told))
    times.write_text(json.dumps({"models": {MODEL: {str(gear): taken for gear, taken in ms.items()}}}))
    return recipe, times


def one_request(random: np.random.Generator) -> tuple[Array, Array]:
    """Ids of some rows, and the right answer."""
    ids = random.integers(0, ROWS, (int(random.integers(1, MOST_ROWS + 1)), IDS), np.int32)
    return ids, _TABLE[ids].sum(axis=1)


def poison() -> Array:
    """Ids of which none is in the table."""
    return np.full((1, IDS), 10 * ROWS, np.int32)
