"""Models with one input and one output of every datatype that a served tensor may have.

Each output is its input with the columns the other way round: so every element has to be read at its place, and what is
no ordinary number (infinities, the smallest of floats, -0.0) has to come through as it is.

`kinds` has all of them. `typed` is without FP16, which has no form but bytes: neither in JSON nor in gRPC's typed
contents, and there one input as bytes makes bytes of all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import yaml
from onnx import TensorProto, helper

from ascend_serve.spec.tensors import DataType

MODELS = {"kinds": tuple(DataType), "typed": tuple(kind for kind in DataType if kind is not DataType.FP16)}
COLUMNS = 6


def network(name: str) -> onnx.ModelProto:
    """`OUT_<datatype>` is `IN_<datatype>` with its columns reversed, each (N, 6)."""
    rows: list[str | int | None] = ["N", COLUMNS]
    kinds = {kind.name: helper.np_dtype_to_tensor_dtype(kind.numpy) for kind in MODELS[name]}
    turned = helper.make_tensor("turned", TensorProto.INT64, [COLUMNS], list(range(COLUMNS))[::-1])
    graph = helper.make_graph(
        [helper.make_node("Gather", [f"IN_{kind}", "turned"], [f"OUT_{kind}"], axis=1) for kind in kinds],
        name,
        [helper.make_tensor_value_info(f"IN_{kind}", number, rows) for kind, number in kinds.items()],
        [helper.make_tensor_value_info(f"OUT_{kind}", number, rows) for kind, number in kinds.items()],
        [turned],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def recipe(name: str, folder: Path) -> Path:
    """A recipe of a model, both written into a folder."""
    onnx.save(network(name), folder / f"{name}.onnx")
    told: dict[str, Any] = {
        "name": name,
        "source": f"{name}.onnx",
        "inputs": {f"IN_{kind.name}": [-1, COLUMNS] for kind in MODELS[name]},
        "gears": [1, 4],
        "precision": "fp32",  # what comes back is compared bit by bit
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(told))
    return path
