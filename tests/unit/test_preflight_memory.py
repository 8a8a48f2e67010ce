import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ascend_serve.compiling.preflight import SLOTS, preflight
from ascend_serve.spec.soc import Soc
from tests.unit.onnx_nets import recipe_of

pytestmark = pytest.mark.unit

# Every tensor has a thousand elements for each row; `a` lives until `y` is made.
NET = """net (float[N,1000] x) => (float[N,1000] y) <float[1000,1000] w> {
    a = Relu(x) b = MatMul(a, w) c = Relu(b) y = Add(a, c) }"""
ROWS = {"inputs": {"x": [-1, 1000]}, "gears": [1, 4]}
ELEMENTS = 4 * 1000
"""Elements of a tensor at the largest gear."""


@pytest.mark.parametrize(
    ("settings", "itemsize"),
    [
        ({}, 2),
        ({"precision": "fp16"}, 2),
        ({"precision_mode": "force_fp16"}, 2),
        ({"precision": "fp32"}, 4),
        ({"precision": "mixed"}, 4),
        ({"precision_mode": "must_keep_origin_dtype"}, 4),
    ],
)
def test_sizes_follow_the_precision(tmp_path, settings, itemsize):
    found = preflight(recipe_of(tmp_path, NET, **ROWS, **settings))
    assert found.weight_bytes == 1_000_000 * itemsize
    largest = found.gears[-1]
    assert largest.activation_bytes == 3 * ELEMENTS * itemsize
    assert (largest.input_bytes, largest.output_bytes) == (ELEMENTS * 4, ELEMENTS * 4)
    buffers = SLOTS * (largest.input_bytes + largest.output_bytes)
    assert found.device_bytes == found.weight_bytes + largest.activation_bytes + buffers


def test_types_at_the_border_may_differ(tmp_path):
    recipe = recipe_of(tmp_path, NET, **ROWS, input_fp16_nodes=["x"], output_type="FP16")
    largest = preflight(recipe).gears[-1]
    assert (largest.input_bytes, largest.output_bytes) == (ELEMENTS * 2, ELEMENTS * 2)


@pytest.mark.parametrize(
    ("memory", "severity"), [(1_000_000, "error"), (2_100_000, "warning"), (1 << 30, None), (None, None)]
)
def test_memory_of_the_chip(tmp_path, memory, severity):
    soc = Soc("Ascend310P3", "Ascend310P", 2002, memory)
    found = preflight(recipe_of(tmp_path, NET, **ROWS), soc)
    assert [finding.severity for finding in found.findings] == ([severity] if severity else [])


def test_constants_count_as_weights(tmp_path):
    value = onnx.numpy_helper.from_array(np.ones((2000,), np.float32))
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["k"], value=value), helper.make_node("Add", ["x", "k"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2000])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2000])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = preflight(recipe_of(tmp_path, model, inputs={"x": [-1, 2000]}, gears=[1, 2], precision="fp32"))
    assert not found.findings
    assert found.weight_bytes == 8000
    assert found.gears[0].outputs == {"y": (1, 2000)}
