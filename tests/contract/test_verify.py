"""Compiled models beside their sources, on whichever `acl` and `atc` are installed."""

import sys

import numpy as np
import onnx
import pytest

from ascend_serve.artifacts.store import Store
from ascend_serve.compiling.build import compile_target
from ascend_serve.errors import ConfigError, VerificationFailed
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.verification import Tolerance
from ascend_serve.verifying import check, gate, verify, verify_target
from ascend_serve.verifying.verification import soc_here

pytestmark = pytest.mark.contract

CLASSIFIER = """
net (float[n,4] x) => (float[n,3] y) <float[4,3] w = {0.1,-0.7,0.3,1.1,0.9,-0.2,0.33,0.7,-1.3,0.05,0.6,0.8}>
{ a = MatMul(x, w) y = Softmax <axis = 1> (a) }
"""
POOLED = """
net (float[1,1,h,w] x) => (float[1,1,a,b] y)
{ a = Sigmoid(x) y = AveragePool <kernel_shape = [2,2], strides = [2,2]> (a) }
"""
ENCODER = """
net (int64[b,s] ids, float[b,s] mask) => (float[b,s,2] y, float[b,2] mean)
<float[5,2] table = {0.1,1.2,2.3,3.4,4.5,5.6,6.7,7.8,8.9,9.1}, int64[1] last = {2}, int64[1] middle = {1}>
{ rows = Gather(table, ids) wide = Unsqueeze(mask, last) y = Mul(rows, wide)
  mean = ReduceMean <axes = [1], keepdims = 0> (y) }
"""
KINDS = {
    "static": (CLASSIFIER, {"inputs": {"x": [2, 4]}}, [()]),
    "one gear": (CLASSIFIER, {"inputs": {"x": [-1, 4]}, "gears": [3]}, [(3,)]),
    "batch": (CLASSIFIER, {"inputs": {"x": [-1, 4]}, "gears": [1, 2, 8]}, [(1,), (2,), (8,)]),
    "image": (
        POOLED,
        {"inputs": {"x": [1, 1, -1, -1]}, "image_gears": [[4, 4], [8, 6]]},
        [(4, 4), (8, 6)],
    ),
    "dims": (
        ENCODER,
        {
            "inputs": {"mask": [-1, -1], "ids": [-1, -1]},
            "dims_gears": [[1, 4, 1, 4], [2, 8, 2, 8]],
            "input_format": "ND",
        },
        [(1, 4, 1, 4), (2, 8, 2, 8)],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def soc():
    return soc_here()


@pytest.fixture
def recipe(tmp_path):
    """Write a network and make a recipe of it."""

    def make(network, **settings):
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {network}')
        onnx.save(model, tmp_path / "net.onnx")
        return CompileRecipe.parse({"name": "net", "source": str(tmp_path / "net.onnx"), **settings})

    return make


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A store of the module, so that what several tests compare is compiled once."""
    return Store(tmp_path_factory.mktemp("built"))


@pytest.fixture
def compiled(soc, built):
    def build(recipe):
        return compile_target(recipe, soc, built).fetch()

    return build


# --- every kind ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_in_the_sources_own_precision_every_gear_agrees(recipe, compiled, kind):
    network, settings, gears = KINDS[kind]
    wanted = recipe(network, precision="fp32", **settings)
    found = verify(wanted, compiled(wanted))
    assert [report.gear for report in found.gears] == gears
    outputs = [output.name for output in onnx.parser.parse_graph(network).output]
    for report in found.gears:
        assert [output.name for output in report.outputs] == outputs
        assert all(output.max_rel_error < 1e-5 for output in report.outputs)
    check(found)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_departs_and_no_further_than_it_may(recipe, compiled, kind):
    network, settings, _ = KINDS[kind]
    wanted = recipe(network, precision="fp16", **settings)
    found = verify(wanted, compiled(wanted))
    errors = [output.max_rel_error for report in found.gears for output in report.outputs]
    assert 0 < max(errors) < 0.005
    assert found.passed


def test_one_gear_can_be_chosen_and_another_is_refused(recipe, compiled):
    network, settings, _ = KINDS["batch"]
    wanted = recipe(network, **settings)
    om = compiled(wanted)
    assert [report.gear for report in verify(wanted, om, gears=[(8,)]).gears] == [(8,)]
    with pytest.raises(ConfigError, match="gear 3: the model was compiled for 1, 2, 8"):
        verify(wanted, om, gears=[(3,)])


# --- tolerances and the gate -----------------------------------------------------------------------


def test_a_passed_bound_is_told_with_gear_output_value_and_bound(recipe, compiled):
    network, settings, _ = KINDS["batch"]
    wanted = recipe(network, precision="fp16", **settings)
    found = verify(wanted, compiled(wanted), tolerance=Tolerance(max_abs_error=0))
    assert not found.passed
    report = found.gears[0].outputs[0]
    assert found.failures[0] == (f"gear 1, output 'y': absolute error {report.max_abs_error:.3g} is above 0")
    with pytest.raises(VerificationFailed, match="something else than its source: gear 1, output 'y'"):
        check(found)


def test_a_model_within_its_tolerance_is_published_with_the_report(recipe, soc, store):
    network, settings, gears = KINDS["batch"]
    wanted = recipe(network, verify={"max_rel_error": 0.01}, **settings)
    manifest = compile_target(wanted, soc, store, gate=gate).manifest
    told = manifest.verification
    assert told["passed"] is True
    assert [tuple(each["gear"]) for each in told["gears"]] == gears
    assert told["tolerance"] == {
        "min_cosine": 0.99, "max_abs_error": None, "max_rel_error": 0.01, "min_top1": None
    }  # fmt: skip


def test_a_model_past_its_tolerance_is_not_published_and_can_be_looked_at(recipe, soc, store):
    network, settings, _ = KINDS["batch"]
    wanted = recipe(network, precision="fp16", verify={"max_abs_error": 0}, **settings)
    with pytest.raises(VerificationFailed, match=f"net@{soc} computes something else"):
        compile_target(wanted, soc, store, gate=gate)
    found = verify_target(wanted, soc, store, gears=[(2,)])
    assert [report.gear for report in found.gears] == [(2,)]
    assert not found.passed
    assert not list(store.manifests())


def test_what_is_in_the_store_is_compared_as_it_is(recipe, soc, store):
    network, settings, _ = KINDS["static"]
    wanted = recipe(network, **settings)
    compile_target(wanted, soc, store)
    before = list(store.manifests())
    assert verify_target(wanted, soc, store).passed
    assert list(store.manifests()) == before


# --- inputs ----------------------------------------------------------------------------------------


def test_rows_of_a_file_are_cut_or_repeated_to_each_gear(recipe, compiled, tmp_path):
    network, settings, _ = KINDS["batch"]
    wanted = recipe(network, precision="fp32", **settings)
    data = np.random.default_rng(0).standard_normal((2, 4))
    np.savez(tmp_path / "data.npz", x=data)
    found = verify(wanted, compiled(wanted), inputs=tmp_path / "data.npz")
    assert found.passed
    assert found.notes == (
        "gear 1: input 'x': axis 0 cut from 2 to 1",
        "gear 8: input 'x': axis 0 repeated from 2 to 8",
    )
    assert found.inputs == str(tmp_path / "data.npz")


def test_a_single_gear_takes_other_numbers_of_rows_too(recipe, compiled, tmp_path):
    network, settings, _ = KINDS["one gear"]
    wanted = recipe(network, verify={"inputs": str(tmp_path / "data.npz")}, **settings)
    np.savez(tmp_path / "data.npz", x=np.ones((1, 4)))
    found = verify(wanted, compiled(wanted.model_copy(update={"verify": None})))
    assert found.notes == ("gear 3: input 'x': axis 0 repeated from 1 to 3",)


def test_a_file_that_does_not_fit_is_refused(recipe, compiled, tmp_path):
    network, settings, _ = KINDS["batch"]
    wanted = recipe(network, **settings)
    om = compiled(wanted)
    for arrays, words in (
        ({"y": np.ones((1, 4))}, "'y' is no input"),
        ({"x": np.ones((1, 5))}, r"has shape \[1, 5\], the compiled model takes \[-1, 4\]"),
        ({"x": np.ones((1, 4), complex)}, "'x' is complex128"),
    ):
        np.savez(tmp_path / "data.npz", **arrays)
        with pytest.raises(ConfigError, match=words):
            verify(wanted, om, inputs=tmp_path / "data.npz")


def test_images_go_through_aipp_on_both_sides(recipe, compiled):
    network = "net (float[n,3,4,6] x) => (float[n,3,4,6] y) { y = Sqrt(x) }"
    section = {
        "input": "x",
        "input_format": "RGB888_U8",
        "rbuv_swap_switch": True,
        "min_chn": [0, 0, 0],
        "var_reci_chn": [0.5, 0.25, 0.125],
    }
    wanted = recipe(network, inputs={"x": [-1, 3, 4, 6]}, gears=[1, 4], aipp=[section], precision="fp32")
    found = verify(wanted, compiled(wanted))
    assert [report.outputs[0].shape for report in found.gears] == [(1, 3, 4, 6), (4, 3, 4, 6)]
    assert max(report.outputs[0].max_rel_error for report in found.gears) < 1e-3
    assert found.passed


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"insert_op_conf": "aipp.cfg"}, "say the same in `aipp`"),
        ({"aipp": [{"input": "x", "mode": "dynamic", "max_src_image_size": 5000}]}, "mode dynamic"),
        (
            {
                "aipp": [{"input": "x", "input_format": "YUV420SP_U8"}],
                "inputs": {"x": [1, 3, -1, -1]},
                "image_gears": [[4, 4], [8, 8]],
            },
            "rows in memory",
        ),
    ],
)
def test_preprocessing_that_cannot_be_repeated_is_refused(recipe, tmp_path, settings, words):
    network = "net (float[n,3,4,6] x) => (float[n,3,4,6] y) { y = Sqrt(x) }"
    wanted = recipe(network, **{"inputs": {"x": [1, 3, 4, 6]}, **settings})
    with pytest.raises(ConfigError, match=words):
        verify(wanted, tmp_path / "unread.om")


# --- sources ---------------------------------------------------------------------------------------


def test_outputs_from_within_are_compared_with_the_tensors_they_are(recipe, compiled):
    model = CLASSIFIER.replace("a = MatMul", "[product] a = MatMul")
    wanted = recipe(model, inputs={"x": [2, 4]}, out_nodes=["product:0"], precision="fp32")
    found = verify(wanted, compiled(wanted))
    assert [output.name for output in found.gears[0].outputs] == ["a"]
    assert found.passed


def test_a_recipe_may_compile_other_shapes_than_the_file_says(recipe, compiled):
    network = CLASSIFIER.replace("float[n,", "float[1,")
    wanted = recipe(network, inputs={"x": [4, 4]}, precision="fp32")
    found = verify(wanted, compiled(wanted))
    assert found.gears[0].outputs[0].shape == (4, 3)
    assert found.passed


def test_another_models_file_is_refused(recipe, compiled):
    network, settings, _ = KINDS["static"]
    om = compiled(recipe(network, **settings))
    other = "net (float[n,4] x) => (float[n,4] p, float[n,4] q) { p = Exp(x) q = Neg(x) }"
    with pytest.raises(ConfigError, match="compiled from another source"):
        verify(recipe(other, **settings), om)


def test_a_framework_that_onnxruntime_cannot_run_is_refused(tmp_path):
    wanted = CompileRecipe.parse({"name": "net", "source": str(tmp_path / "net.pb"), "inputs": {"x": [1]}})
    with pytest.raises(ConfigError, match="a tensorflow model cannot be verified here"):
        verify(wanted, tmp_path / "net.om")


def test_without_onnxruntime_it_says_what_to_install(recipe, compiled, monkeypatch):
    network, settings, _ = KINDS["static"]
    wanted = recipe(network, **settings)
    om = compiled(wanted)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'ascend-serve\[verify\]'"):
        verify(wanted, om)
