"""Builds with whichever `atc` is installed: what it writes, our own reader must understand."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ascend_serve.artifacts.om.file import read_om_file
from ascend_serve.artifacts.store import Store, ready_made
from ascend_serve.compiling.build import compile_target
from ascend_serve.errors import BuildFailed, ConfigError, PreflightFailed
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


def compiled(folder, store, source="net.onnx", skip_preflight=False, **settings):
    recipe = CompileRecipe.parse({"name": "net", "source": str(folder / source), "inputs": SHAPES} | settings)
    return compile_target(recipe, "Ascend310P3", Store(store), skip_preflight=skip_preflight)


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
    assert ready_made(artifact.fetch(), "net", batched=batch == -1).spec == spec


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"source": "broken.onnx", "gears": [1, 4]}, "E13005"),
        ({"gears": [1, 4], "inputs": {"left": [-1, 3], "rihgt": [-1, 5]}}, "E10016"),
        ({"gears": [1, 4], "inputs": {"left": [-1, 3], "right": [-1, 5, 1]}}, "E10049"),
    ],
)
def test_what_atc_refuses_is_diagnosed_and_not_published(folder, tmp_path, settings, code):
    with pytest.raises(PreflightFailed, match=code):
        compiled(folder, tmp_path / "store", **settings)
    with pytest.raises(BuildFailed) as caught:
        compiled(folder, tmp_path / "store", skip_preflight=True, **settings)
    assert caught.value.code == code
    assert caught.value.hint
    assert caught.value.reference
    assert not list((tmp_path / "store").glob("??/*"))


NET = '<ir_version: 8, opset_import: ["" : 17]> g (float[n,3,h,w] image) => (float[n,3,h,w] y) {y = Relu(image)}'


@pytest.mark.parametrize(
    ("settings", "kind", "gears", "buckets"),
    [
        (
            {"inputs": {"image": [1, 3, -1, -1]}, "image_gears": [[16, 12], [8, 8]]},
            "image",
            ((16, 12), (8, 8)),
            [((1,), (3, 8, 8)), ((1,), (3, 16, 12))],
        ),
        (
            {"inputs": {"image": [-1, 3, -1, 8]}, "dims_gears": [[1, 8], [4, 16], [4, 8]]},
            "dims",
            ((1, 8), (4, 16), (4, 8)),
            [((1, 4), (3, 8, 8)), ((4,), (3, 16, 8))],
        ),
    ],
)
def test_gears_of_sizes_are_served_in_buckets(tmp_path, settings, kind, gears, buckets):
    onnx.save(onnx.parser.parse_model(NET), tmp_path / "net.onnx")
    artifact = compiled(tmp_path, tmp_path / "store", input_format="NCHW", **settings)
    om = read_om_file(artifact.fetch())
    assert (om.gear_kind, om.gear_groups) == (kind, gears)
    spec = artifact.spec
    assert (spec.batched, spec.free) == (True, True)
    assert [(bucket.gears.sizes, bucket.shapes["image"]) for bucket in spec.buckets] == buckets
    assert all(bucket.shapes["y"] == bucket.shapes["image"] for bucket in spec.buckets)


def test_an_axis_0_that_counts_no_rows_is_left_alone(tmp_path):
    onnx.save(onnx.parser.parse_model(NET), tmp_path / "net.onnx")
    shapes = {"inputs": {"image": [-1, 3, 8, 8]}, "dims_gears": [[4], [9]]}
    spec = compiled(tmp_path, tmp_path / "store", input_format="NCHW", batched=False, **shapes).spec
    assert (spec.batched, spec.free, spec.gears.sizes) == (False, True, (1,))
    assert [bucket.shapes["y"] for bucket in spec.buckets] == [(4, 3, 8, 8), (9, 3, 8, 8)]
    assert compiled(tmp_path, tmp_path / "store", input_format="NCHW", **shapes).spec.batched


def test_what_cannot_be_served_is_kept_all_the_same(tmp_path):
    onnx.save(onnx.parser.parse_model(NET), tmp_path / "net.onnx")
    shapes = {"inputs": {"image": ["1~4", 3, 8, 8]}}
    artifact = compiled(tmp_path, tmp_path / "store", input_format="NCHW", **shapes)
    assert read_om_file(artifact.fetch()).dynamic
    with pytest.raises(ConfigError, match=r"cannot be served: .*open shapes"):
        _ = artifact.spec


def test_weights_beside_the_model_are_kept_and_fetched_with_it(folder, tmp_path):
    artifact = compiled(folder, tmp_path / "store", gears=[1, 4], external_weight=1)
    om, *weights = artifact.manifest.files
    assert om.name == "net.om"
    assert weights
    assert all(weight.name.startswith("weight/weight_") for weight in weights)
    assert all((artifact.fetch().parent / weight.name).is_file() for weight in weights)


def test_tuning_makes_a_bank_once_and_builds_from_it(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ASCEND_EMULATOR_SOC", "Ascend310P3")
    settings = {"gears": [1, 4], "tune": {"job_type": "operator"}}
    tuned = compiled(folder, tmp_path / "store", **settings)
    assert "op_bank_path" in tuned.manifest.details["command"]["options"]
    store = Store(tmp_path / "store")
    bank = store.bank(tuned.manifest.details["bank"])
    assert any("Ascend310P3" in file.name for file in bank.files)
    plain = compiled(folder, tmp_path / "store", gears=[1, 4])
    assert plain.manifest.key != tuned.manifest.key
    monkeypatch.setenv("ASCEND_SERVE_AOE", "/nowhere/aoe")
    assert compiled(folder, tmp_path / "store", gears=[1, 4], name="other", tune=settings["tune"]).spec.gears
