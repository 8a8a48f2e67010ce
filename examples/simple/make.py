"""Makes `simple.onnx`: two rows of whole numbers in, their sums and differences out.

It is the model that the clients and load generators of the Open Inference Protocol ask for by the name `simple`, with
the names and types that they expect (triton-inference-server/server, docs/examples/model_repository/simple). There is
nothing to train and nothing random in it, so the same versions of `onnx` make the same file.

    python examples/simple/make.py
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

COLUMNS = 16
OPSET = 18
IR_VERSION = 8


def network() -> onnx.ModelProto:
    """`OUTPUT0 = INPUT0 + INPUT1` and `OUTPUT1 = INPUT0 - INPUT1`, each int32 (N, 16)."""
    rows: list[str | int | None] = ["N", COLUMNS]
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
            helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
        ],
        "simple",
        [helper.make_tensor_value_info(name, TensorProto.INT32, rows) for name in ("INPUT0", "INPUT1")],
        [helper.make_tensor_value_info(name, TensorProto.INT32, rows) for name in ("OUTPUT0", "OUTPUT1")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    onnx.save(network(), Path(__file__).with_name("simple.onnx"))
