"""The ResNet-50 example: the field's network, and settings that fit it."""

import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml

from ascend_serve.compiling.recipes import load_recipe
from ascend_serve.processing.loading import make_processor
from ascend_serve.processing.processor import Payload
from ascend_serve.serving.config import parse_app_config
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def make() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples/resnet50"))
        yield importlib.import_module("make")
    del sys.modules["make"]


def test_it_has_the_parameters_of_the_fields_resnet50(make: ModuleType) -> None:
    shapes = make.parameters()
    # The figure that torchvision documents for resnet50.
    assert sum(math.prod(shape) for shape in shapes.values()) == 25_557_032
    assert sum(len(shape) == 4 for shape in shapes.values()) == 53
    assert shapes["classes.weight"] == (1000, 2048)


@pytest.fixture(scope="module")
def slim(make: ModuleType) -> onnx.ModelProto:
    """The same graph, with an eighth of the channels."""
    model: onnx.ModelProto = make.make(side=64, width=8)
    return model


def test_a_slim_one_is_right_by_onnx_and_has_all_that_is_counted(
    make: ModuleType, slim: onnx.ModelProto
) -> None:
    onnx.checker.check_model(slim, full_check=True)
    assert sum(node.op_type == "Conv" for node in slim.graph.node) == 53
    shapes = {weight.name: tuple(weight.dims) for weight in slim.graph.initializer}
    told = make.parameters(8)
    assert {name: shapes[name] for name in told} == told
    assert {name.rpartition(".")[2] for name in set(shapes) - set(told)} == {"mean", "variance"}


def test_every_stage_halves_the_picture(slim: onnx.ModelProto) -> None:
    inferred = onnx.shape_inference.infer_shapes(slim).graph.value_info
    sides = {
        value.name: value.type.tensor_type.shape.dim[2].dim_value
        for value in inferred
        if value.name.endswith(".sum")
    }
    assert [sides[f"stage{stage}.block1.sum"] for stage in (1, 2, 3, 4)] == [16, 8, 4, 2]


def test_it_computes_finite_numbers_that_depend_on_the_picture_and_the_seed(
    make: ModuleType, slim: onnx.ModelProto
) -> None:
    pictures = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)

    def run(model: onnx.ModelProto) -> np.ndarray:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {"image": pictures})[0])

    logits = run(slim)
    assert logits.shape == (2, 1000)
    assert 0.1 < logits.std() < 100
    assert not np.allclose(logits[0], logits[1])
    assert make.make(side=64, width=8) == slim
    assert not np.allclose(run(make.make(seed=51, side=64, width=8)), logits)


def test_recipe_and_serve_file_fit_it() -> None:
    recipe = load_recipe(ROOT / "compile_jobs/recipes/resnet50.yaml")
    assert Path(recipe.source).resolve() == ROOT / "examples/resnet50/build/resnet50.onnx"
    assert recipe.inputs == {"image": (-1, 3, 224, 224)}
    (application,) = yaml.safe_load((ROOT / "deployments/resnet50.yaml").read_text())["applications"]
    (model,) = parse_app_config(application["args"]).served
    assert model.processor is not None
    spec = ModelSpec(
        "resnet50",
        (TensorSpec("image", DataType.FP32, (-1, 3, 224, 224)),),
        (TensorSpec("logits", DataType.FP32, (-1, 1000)),),
        Gears.of(recipe.gears or ()),
    )
    processor = make_processor(model.processor, model.processor_args, spec)
    picture = (ROOT / "examples/digits/images/digit0_021.png").read_bytes()
    (request,) = processor.decode(Payload(picture)).requests
    assert request["image"].shape == (1, 3, 224, 224)
