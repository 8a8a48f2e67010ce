"""Builds with whichever `atc` is installed: what it writes, our own reader must understand."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ascend_serve.artifacts.store import Store, ready_made
from ascend_serve.compiling.build import compile_target
from ascend_serve.errors import BuildFailed
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.tensors import DataType

pytestmark = pytest.mark.unit

SHAPES = {"left": [-1, 3], "right": [-1, 5]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network of two inputs and two outputs of different types, with an open batch axis."""
    folder = tmp_path_factory.mktemp("models")
    weight = numpy_helper.from_array(np.ones((3, 5), np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["left", "w"], ["p"]),
            helper.make_node("Add", ["p", "right"], ["sum"]),
            helper.make_node("ArgMax", ["sum"], ["best"], axis=1),
        ],
        "g",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", dims[1]])
            for name, dims in SHAPES.items()
        ],
        [
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["N", 5]),
            helper.make_tensor_value_info("best", TensorProto.INT64, ["N", 1]),
        ],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, folder / "net.onnx")
    (folder / "broken.onnx").write_bytes((folder / "net.onnx").read_bytes()[:40])
    return folder


def compiled(folder, store, source="net.onnx", **settings):
    recipe = CompileRecipe.parse({"name": "net", "source": str(folder / source), "inputs": SHAPES} | settings)
    return compile_target(recipe, "Ascend310P3", Store(store))


@pytest.mark.parametrize(
    ("settings", "batch", "gears"),
    [
        ({"gears": [8, 1, 4]}, -1, (1, 4, 8)),
        ({"gears": [4]}, -1, (4,)),
        ({"inputs": {"right": [2, 5], "left": [2, 3]}}, 2, (1,)),
    ],
)
def test_what_is_compiled_has_the_signature_of_the_network(folder, tmp_path, settings, batch, gears):
    artifact = compiled(folder, tmp_path / "store", **settings)
    spec = artifact.spec
    assert [(t.name, t.dtype, t.shape) for t in (*spec.inputs, *spec.outputs)] == [
        ("left", DataType.FP32, (batch, 3)),
        ("right", DataType.FP32, (batch, 5)),
        ("sum", DataType.FP32, (batch, 5)),
        ("best", DataType.INT64, (batch, 1)),
    ]
    assert (spec.gears.sizes, artifact.soc) == (gears, "Ascend310P3")
    assert ready_made(artifact.verify(), "net", batched=batch == -1).spec == spec


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"source": "broken.onnx", "gears": [1, 4]}, "E13005"),
        ({"gears": [1, 4], "inputs": {"left": [-1, 3], "rihgt": [-1, 5]}}, "E10016"),
        ({"gears": [1, 4], "inputs": {"left": [-1, 3], "right": [-1, 5, 1]}}, "E10049"),
    ],
)
def test_what_atc_refuses_is_diagnosed_and_not_published(folder, tmp_path, settings, code):
    with pytest.raises(BuildFailed) as caught:
        compiled(folder, tmp_path / "store", **settings)
    assert caught.value.code == code
    assert caught.value.hint
    assert not list((tmp_path / "store").glob("??/*"))
